"""Who is revoked is out within a second, wherever it is: sessions of every transport, polls and streams."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from imserver.protocol.errors import CloseCode
from tests.e2e.http.robot_over_http import said_by, stays_of
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import ANY, JSON, TCP, Fleet, Peer, Refused, Way

WITHIN_S = 1.0
WAYS = [*ANY, TCP[1]]


class Admin:
    """An admin over HTTP, who mints and revokes."""

    def __init__(self, server: ServerProcess) -> None:
        headers = {"Authorization": f"Bearer {server.token('chief', admin=True)}"}
        self.http = httpx.AsyncClient(
            base_url=f"{server.url}/v1", headers=headers, timeout=30, verify=False
        )

    async def mint(self, robot: str, **fields: Any) -> tuple[str, str]:
        """Return a bearer token and its id."""
        body = {"kind": "bearer", "robot": robot, **fields}
        minted = (await self.http.post("/tokens", json=body)).json()
        return minted["token"], minted["id"]

    async def revoke(self, path: str) -> float:
        """Revoke; return when that was asked for, in seconds of the stopwatch."""
        began_s = time.monotonic()
        answer = await self.http.delete(path)
        assert answer.status_code == 204, answer.text
        return began_s


@pytest.fixture
async def admin(fleet: Fleet) -> AsyncIterator[Admin]:
    admin = Admin(fleet.server)
    yield admin
    await admin.http.aclose()


class Watch:
    """Sees to it that what is revoked ends in time; the times are in the test's output and report."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    async def closed(self, door: str, began_s: float, end: Awaitable[int]) -> int:
        """Wait for an end, at most a second after ``began_s``, and return its code."""
        async with asyncio.timeout(began_s + WITHIN_S - time.monotonic()):
            code = await end
        took_ms = round(1_000 * (time.monotonic() - began_s), 1)
        self._record(f"{door} closed after ms", took_ms)
        print(f"{door}: closed {took_ms} ms after its end was asked for")
        return code


@pytest.fixture
def watch(record_property: Callable[[str, object], None]) -> Watch:
    return Watch(record_property)


async def come_in(fleet: Fleet, way: Way, robot: str, token: str) -> Peer:
    peer = await Fleet(fleet.server, [way]).stranger()
    fleet._peers.append(peer)
    await peer.hello(robot, key=None, token=token)
    return peer


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.transport}-{way.codec.subprotocol}")
async def test_a_revoked_token_closes_its_session_within_a_second(
    fleet: Fleet, admin: Admin, way: Way, watch: Watch
) -> None:
    robot = fleet.name("r1")
    token, token_id = await admin.mint(robot)
    other, _ = await admin.mint(robot)
    peer = await come_in(fleet, way, robot, token)
    kept = await fleet.stranger(JSON)
    await kept.hello(robot, key=None, token=other, device="kept")
    began_s = await admin.revoke(f"/tokens/{token_id}")
    code = await watch.closed(way.transport, began_s, peer.until_closed())
    assert code in (CloseCode.TOKEN_ENDED, 0)  # raw TCP has no close codes
    [bye] = [notice for notice in peer.notices if notice["t"] == "bye"]
    assert bye["code"] == CloseCode.TOKEN_ENDED and "revoked" in bye["reason"]
    await kept.settle()
    assert await turned_away(fleet, robot, token=token)


async def turned_away(fleet: Fleet, robot: str, **given: Any) -> bool:
    """Tell whether a robot's hello is refused for who it is."""
    peer = await fleet.stranger()
    with pytest.raises(Refused) as refused:
        await peer.hello(robot, **{"key": None} | given)
    return refused.value.code == "unauthenticated"


async def stays(server: ServerProcess, count: int) -> None:
    """Wait until so many polls and streams are open."""
    while await stays_of(server) != count:
        pass


async def stream_end(stream: httpx.Response) -> int:
    async for said in said_by(stream):
        if said.type == "bye":
            return int(said.data["code"])
    raise AssertionError("the stream ended without a word")


async def test_a_revoked_token_ends_its_streams_and_long_polls_within_a_second(
    fleet: Fleet, admin: Admin, watch: Watch
) -> None:
    boss = await fleet.online("boss")
    await fleet.register("r1")
    robot = fleet.name("r1")
    conv = await fleet.group(boss)
    await boss.request("add_members", conv=conv, robots=[robot])
    token, token_id = await admin.mint(robot, scopes=[f"read:{conv}"])
    path = f"/v1/groups/{conv.removeprefix('g/')}"
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx.AsyncClient(
            base_url=fleet.server.url, headers=headers, timeout=30, verify=False
        ) as http,
        asyncio.TaskGroup() as group,
    ):
        ticket = (await http.post(f"{path}/tickets")).json()
        spare = (await http.post(f"{path}/tickets")).json()
        async with (
            http.stream("GET", f"{path}/events/stream?after=latest") as stream,
            httpx.AsyncClient(base_url=fleet.server.url, timeout=30, verify=False) as browser,
            browser.stream("GET", ticket["url"]) as by_ticket,
        ):
            polling = group.create_task(http.get(f"{path}/events?after=2&wait=20"))
            await stays(fleet.server, 3)
            began_s = await admin.revoke(f"/tokens/{token_id}")
            for door, answer in (("stream", stream), ("stream by ticket", by_ticket)):
                code = await watch.closed(door, began_s, stream_end(answer))
                assert code == CloseCode.TOKEN_ENDED

            async def polled() -> int:
                return (await polling).status_code

            assert await watch.closed("long poll", began_s, polled()) == 200
            assert (await browser.get(ticket["url"])).status_code == 401
            assert (await browser.get(spare["url"])).status_code == 401
        assert (await http.get(f"{path}/events")).status_code == 401


async def test_a_revoked_robot_is_out_by_key_and_token_and_comes_back_by_enrolment_only(
    fleet: Fleet, admin: Admin, watch: Watch
) -> None:
    by_key = await fleet.online("r1")
    robot, key = by_key.robot, await fleet.register("r1")
    token, _ = await admin.mint(robot)
    early = fleet.server.enroll(robot)
    by_token = await fleet.stranger()
    await by_token.hello(robot, key=None, token=token, device="laptop")
    began_s = await admin.revoke(f"/robots/{robot}")
    for door, peer in (("by key", by_key), ("by token", by_token)):
        code = await watch.closed(door, began_s, peer.until_closed())
        assert code == CloseCode.REVOKED
    assert await turned_away(fleet, robot, key=key)
    assert await turned_away(fleet, robot, token=token)
    peer = await fleet.stranger()
    with pytest.raises(Refused, match="was revoked"):
        await peer.register(robot, token=early, key=key)
    peer = await fleet.stranger()
    await peer.register(robot, token=fleet.server.enroll(robot), key=key)
    assert (await peer.hello(robot, key=key))["t"] == "welcome"
    assert await turned_away(fleet, robot, token=token)


async def test_a_removed_member_is_delivered_nothing_more_and_its_stream_ends(
    fleet: Fleet, watch: Watch
) -> None:
    boss, peer = await fleet.online("boss"), await fleet.online("r1")
    conv = await fleet.group(boss, peer)
    path = f"/v1/groups/{conv.removeprefix('g/')}/events"
    headers = {"Authorization": f"Bearer {fleet.server.token(peer.robot)}"}
    async with (
        httpx.AsyncClient(
            base_url=fleet.server.url, headers=headers, timeout=30, verify=False
        ) as http,
        http.stream("GET", f"{path}/stream?after=latest") as stream,
        asyncio.TaskGroup() as group,
    ):
        polling = group.create_task(http.get(f"{path}?after=1&wait=20"))
        await stays(fleet.server, 2)
        began_s = time.monotonic()
        removed = await boss.request("remove_members", conv=conv, robots=[peer.robot])
        code = await watch.closed("stream", began_s, stream_end(stream))
        assert code == CloseCode.POLICY
        polled = (await polling).json()["events"]
        assert [event["kind"] for event in polled] == ["members_removed"]
        assert (await http.get(path)).status_code == 404
    await boss.send(conv, "without you")
    log = await peer.until_seq(conv, removed["result"]["seq"])
    await peer.settle()
    assert log[-1]["kind"] == "members_removed"


async def test_a_session_ends_with_its_token(fleet: Fleet, admin: Admin) -> None:
    robot = fleet.name("r1")
    token, _ = await admin.mint(robot, ttl_s=1)
    peer = await fleet.stranger()
    await peer.hello(robot, key=None, token=token)
    assert await peer.until_closed() == CloseCode.TOKEN_ENDED


@pytest.mark.one_node(
    reason="the command looks into the embedded store; elsewhere it is asked over HTTP"
)
@pytest.mark.parametrize("what", ["token", "robot"])
async def test_what_is_revoked_beside_a_running_server_is_out_within_a_second(
    fleet: Fleet, what: str, watch: Watch
) -> None:
    robot = fleet.name("r1")
    token = (await asyncio.to_thread(fleet.server.command, "token", "--robot", robot)).strip()
    peer = await fleet.stranger()
    await peer.hello(robot, key=None, token=token)
    given = ["--token", token] if what == "token" else ["--robot", robot]
    said = await asyncio.to_thread(fleet.server.command, "revoke", *given)
    assert "is revoked" in said  # the command returns when the server has taken it in
    code = await watch.closed("command", time.monotonic(), peer.until_closed())
    assert code == (CloseCode.TOKEN_ENDED if what == "token" else CloseCode.REVOKED)


async def test_only_an_admin_revokes_lists_and_audits(fleet: Fleet, admin: Admin) -> None:
    _, token_id = await admin.mint(fleet.name("r1"))
    headers = {"Authorization": f"Bearer {fleet.server.token(fleet.name('r1'))}"}
    async with httpx.AsyncClient(
        base_url=f"{fleet.server.url}/v1", headers=headers, verify=False
    ) as http:
        for method, path in (
            ("GET", "/tokens"),
            ("GET", "/audit"),
            ("GET", "/nodes"),
            ("DELETE", f"/tokens/{token_id}"),
            ("DELETE", "/tokens/none-of-that-id"),
            ("DELETE", f"/robots/{fleet.name('r1')}"),
            ("DELETE", "/robots/nobody"),
        ):
            answer = await http.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
    for path in ("/tokens/none-of-that-id", "/robots/nobody-of-that-name"):
        assert (await admin.http.delete(path)).status_code == 404


async def test_tokens_are_listed_and_every_act_is_on_record(fleet: Fleet, admin: Admin) -> None:
    robot = fleet.name("r1")
    token, token_id = await admin.mint(robot, scopes=["read:*"])
    await fleet.register("r2")
    await admin.revoke(f"/tokens/{token_id}")
    listed = (await admin.http.get("/tokens", params={"robot": robot})).json()["tokens"]
    assert [(row["id"], row["scopes"], row["minted_by"]) for row in listed] == [
        (token_id, ["read:*"], "chief")
    ]
    assert listed[0]["revoked_ms"] >= listed[0]["minted_ms"]
    acts = (await admin.http.get("/audit", params={"limit": 3})).json()["acts"]
    assert [(act["kind"], act["by"], act["robot"]) for act in acts] == [
        ("token_revoked", "chief", robot),
        ("robot_registered", fleet.name("r2"), fleet.name("r2")),
        ("token_minted", "chief", robot),
    ]
    assert token not in str(acts) and token.split(".")[1] not in str(acts)
    older = (
        await admin.http.get("/audit", params={"limit": 1, "before": acts[1]["number"]})
    ).json()
    assert older["acts"] == [acts[2]]
