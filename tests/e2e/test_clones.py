"""Two machines with one identity: noticed, settled once, reported, and no fight that goes on."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from client_sdk import Options, Robot
from client_sdk.errors import RobotError, StayAway
from imserver.access.takeovers import AT_ONCE
from imserver.protocol.errors import CloseCode
from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet, Peer
from tests.until import until

STARTS = 5


async def acts_of(server: ServerProcess, robot: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {server.token('chief', admin=True)}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, verify=False) as http:
        found = (await http.get("/v1/audit", params={"limit": 500})).json()["acts"]
    return [act for act in found if act["robot"] == robot and act["kind"] == "clone_seen"]


async def hello(fleet: Fleet, robot: str, boot: int | None, instance: str) -> tuple[Peer, int]:
    """Say hello as a start of a robot's program; return the peer, and the code if it was turned away."""
    peer = await fleet.stranger()
    fields = {"instance": instance} | ({} if boot is None else {"boot": boot})
    frame = await peer.hello(fleet.name(robot), key=await fleet.register(robot), **fields)
    return peer, 0 if frame["t"] == "welcome" else int(frame["code"])


async def turned_away(fleet: Fleet, robot: str, boot: int | None, instance: str) -> int:
    """Ask for a place that somebody has until it is known whether that one is there; return the code."""
    while True:
        _, code = await hello(fleet, robot, boot, instance)
        if code != CloseCode.CONTESTED:
            return code
        await asyncio.sleep(0.2)


async def test_restarts_and_reconnects_of_one_machine_are_no_clones(fleet: Fleet) -> None:
    for boot, instance in ((1, "a"), (1, "a"), (2, "b"), (2, "b"), (5, "c")):
        _, code = await hello(fleet, "r1", boot, instance)
        assert code == 0
    assert await acts_of(fleet.server, fleet.name("r1")) == []


@pytest.mark.parametrize("boot", [7, 3])
async def test_who_is_there_keeps_the_place_and_the_clone_is_told(fleet: Fleet, boot: int) -> None:
    holder, _ = await hello(fleet, "r1", 7, "a")
    assert (await hello(fleet, "r1", boot, "b"))[1] == CloseCode.CONTESTED, "it is being found out"
    assert await turned_away(fleet, "r1", boot, "b") == CloseCode.CLONED
    await holder.settle()
    [act] = await acts_of(fleet.server, fleet.name("r1"))
    assert act["by"] == "server"
    assert act["facts"] == {"device": "main", "settled": "keep", "boot": boot, "last_boot": 7}


async def test_a_contested_place_is_not_taken_by_counting_on(fleet: Fleet) -> None:
    holder, _ = await hello(fleet, "r1", 7, "a")
    assert await turned_away(fleet, "r1", 7, "b") == CloseCode.CLONED
    assert (await hello(fleet, "r1", 8, "b2"))[1] == CloseCode.CONTESTED
    assert (await hello(fleet, "r1", 7, "a"))[1] == 0  # the holder's own new connection
    await holder.until_closed()


async def test_an_instance_that_was_replaced_does_not_come_back(fleet: Fleet) -> None:
    """Also without counts: two programs that take a device from each other in turn."""
    first, _ = await hello(fleet, "r1", None, "a")
    second, _ = await hello(fleet, "r1", None, "b")
    assert await first.until_closed() == CloseCode.REPLACED
    assert await turned_away(fleet, "r1", None, "a") == CloseCode.CLONED
    await second.settle()


async def test_a_session_that_answers_no_more_does_not_keep_the_place(fleet: Fleet) -> None:
    """A robot that lost its memory begins to count anew, while its last life may still look online."""
    holder, _ = await hello(fleet, "r1", 7, "a")
    holder.socket.transport.pause_reading()
    assert await turned_away(fleet, "r1", 1, "b") == 0
    holder.socket.transport.resume_reading()
    assert await holder.until_closed() == CloseCode.REPLACED


async def test_a_lower_count_is_let_in_where_nobody_is_and_reported(fleet: Fleet) -> None:
    """A robot whose disk was restored must not stay outside."""
    holder, _ = await hello(fleet, "r1", 7, "a")
    await holder.vanish()
    watcher = await fleet.online("watcher")
    while any(row["online"] for row in await robots(watcher) if row["robot"] == fleet.name("r1")):
        pass
    assert (await hello(fleet, "r1", 2, "b"))[1] == 0
    [act] = await acts_of(fleet.server, fleet.name("r1"))
    assert act["facts"]["settled"].startswith("let in")


async def robots(peer: Peer) -> list[dict[str, Any]]:
    answer = await peer.request("list_robots", limit=1_000)
    found: list[dict[str, Any]] = answer["result"]
    return found


async def test_the_count_outlives_a_restart_of_the_server(own_fleet: Fleet) -> None:
    await hello(own_fleet, "r1", 7, "a")
    own_fleet.server.restart()
    holder, code = await hello(own_fleet, "r1", 9, "c")
    assert code == 0
    assert await turned_away(own_fleet, "r1", 8, "b") == CloseCode.CLONED
    await holder.settle()


async def test_a_token_for_a_part_of_its_robots_rights_says_nothing_of_its_starts(
    start_server: StartServer,
) -> None:
    fleet = Fleet(start_server(arguments=("--set", "access.clones=revoke")))
    holder, _ = await hello(fleet, "r1", 7, "a")
    name = fleet.name("r1")
    token = fleet.server.token(name, scopes=["read:g/dock"])
    for boot in (7, 1_000):
        reader = await fleet.stranger()
        fields: dict[str, Any] = {"device": "wall", "instance": f"i{boot}", "boot": boot}
        assert (await reader.hello(name, key=None, token=token, **fields))["t"] == "welcome"
        again = await fleet.stranger()
        fields["instance"] = f"i{boot}b"
        assert (await again.hello(name, key=None, token=token, **fields))["t"] == "welcome"
    await holder.settle()
    assert (await hello(fleet, "r1", 8, "c"))[1] == 0
    assert await acts_of(fleet.server, name) == []
    await fleet.aclose()


@pytest.mark.parametrize("policy", ["replace", "revoke"])
async def test_the_other_policies_do_what_they_say(start_server: StartServer, policy: str) -> None:
    fleet = Fleet(start_server(arguments=("--set", f"access.clones={policy}")))
    holder, _ = await hello(fleet, "r1", 7, "a")
    _, code = await hello(fleet, "r1", 7, "b")
    expected = {"replace": (0, CloseCode.REPLACED), "revoke": (CloseCode.REVOKED,) * 2}[policy]
    assert (code, await holder.until_closed()) == expected
    assert len(await acts_of(fleet.server, fleet.name("r1"))) == 1
    await fleet.aclose()


async def test_two_machines_with_a_copied_key_and_supervisors_settle_without_a_loop(
    fleet: Fleet, tmp_path: Path
) -> None:
    """Each machine's program is started again whenever it ends, as supervisors do."""
    name, url = fleet.name("r1"), fleet.server.ws_url
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    token = fleet.server.enroll(name)
    async with Robot(url, name=name, key=original / "r1.key", token=token) as robot:
        await robot.ping()
    shutil.copytree(original, copy)
    starts, opened = {original: 0, copy: 0}, {original: 0, copy: 0}
    told: list[int] = []

    async def supervise(folder: Path, options: Options) -> None:
        while True:
            starts[folder] += 1
            robot = Robot(url, name=name, key=folder / "r1.key", options=options)
            try:
                async with robot:
                    opened[folder] += 1
                    async for _ in robot.events():
                        pass
            except StayAway as problem:
                told.append(problem.code)
            except RobotError:
                pass

    async with asyncio.TaskGroup() as group:
        holding = group.create_task(supervise(original, Options()))
        await until(lambda: opened[original])
        fighting = group.create_task(supervise(copy, Options(connect_timeout_s=0.3)))
        while not opened[copy] and (starts[copy] < STARTS or not await acts_of(fleet.server, name)):
            await asyncio.sleep(0.01)
        fighting.cancel()
        holding.cancel()
    print(f"starts {[*starts.values()]}, sessions {[*opened.values()]}, told {set(told)}")
    assert (opened[original], opened[copy]) == (1, 0), "the place never changed hands"
    assert set(told) <= {CloseCode.CLONED}
    assert len(await acts_of(fleet.server, name)) == 1


@pytest.mark.one_node(reason="the pace is each node's own")
async def test_the_wait_for_a_takeover_is_not_the_clients(
    start_server: StartServer,
) -> None:
    fleet = Fleet(start_server(environment={"IMSERVER_SERVER_HELLO_TIMEOUT_S": "1"}))
    await fleet.online("r1")
    key, name = await fleet.register("r1"), fleet.name("r1")
    for _ in range(AT_ONCE + 1):
        peer = await fleet.stranger()
        opening = await peer.hello(name, key=key)
        assert opening["t"] == "welcome"
    await fleet.aclose()
