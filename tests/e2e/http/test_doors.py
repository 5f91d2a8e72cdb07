"""One group, a member at each door: all of them see the same log, whichever way its events came in."""

import asyncio
from typing import Any

import pytest

from examples.wire_client import JSON, MSGPACK
from tests.e2e.http.conftest import NewRobot
from tests.e2e.http.robot_over_http import HttpRobot
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet, Peer

BODIES: list[Any] = [
    "text",
    "a\u2028b\x85c\r\n\nd",
    {"nested": [1, -2.5, None, True, {"ключ": "🤖"}]},
    [],
    2**53,
    None,
]


async def by_websocket(peer: Peer, conv: str, door: str) -> None:
    """Send everything over a WebSocket."""
    for number, body in enumerate(BODIES):
        await peer.request("send", conv=conv, cid=f"{door}-{number}", body=body)


async def by_http(robot: HttpRobot, group: str, door: str) -> None:
    """Send everything over HTTP, and each event a second time."""
    for number, body in enumerate(BODIES):
        sent = await robot.send(group, body, key=f"{door}-{number}")
        again = await robot.send(group, body, key=f"{door}-{number}")
        assert again == sent | {"dup": True}


def plain(log: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return a log without what is the codec's: the order of keys, and keys that are left out."""
    names = ("seq", "ts", "sender", "cid", "kind", "body", "ref")
    return [tuple(event.get(name) for name in names) for event in log]


@pytest.mark.process
async def test_every_door_shows_the_same_log(
    shared_server: ServerProcess, fleet: Fleet, new_robot: NewRobot, tag: str
):
    group, conv = f"dock.{tag}", f"g/dock.{tag}"
    owner = await fleet.online("owner")
    binary, text = await fleet.online("binary", MSGPACK), await fleet.online("text", JSON)
    polling, streaming, reading = (
        new_robot(shared_server, f"{name}.{tag}") for name in ("poll", "stream", "lines")
    )
    for robot in (polling, streaming, reading):
        await robot.ask("GET", "/whoami")  # its bearer token registers it
    names = [peer.robot for peer in (binary, text)]
    names += [robot.name for robot in (polling, streaming, reading)]
    await owner.request("create_group", name=group, members=names)
    head = 1 + 5 * len(BODIES)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(polling.poll_until(group, head))
        tasks.create_task(streaming.stream_until(group, head))
        tasks.create_task(reading.read_lines_until(group, head))
        tasks.create_task(by_websocket(binary, conv, "binary"))
        tasks.create_task(by_websocket(text, conv, "text"))
        for robot in (polling, streaming, reading):
            tasks.create_task(by_http(robot, group, robot.name))
    logs = [await peer.until_seq(conv, head) for peer in (owner, binary, text)]
    logs += [robot.events for robot in (polling, streaming, reading)]
    page = await streaming.ask("GET", f"/groups/{group}/events?after=0")
    logs.append(page.json()["events"])
    assert len(logs[0]) == head
    for log in logs[1:]:
        assert plain(log) == plain(logs[0])
