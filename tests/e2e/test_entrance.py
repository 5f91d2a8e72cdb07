"""Who is let in, who is turned away, and what those who are turned away are told."""

import asyncio
import os
import resource
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from imserver.protocol.errors import CloseCode
from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet

pytestmark = pytest.mark.one_node(reason="each node counts and drains its own connections")

PATIENCE_S = 20
_HANDSHAKE = (
    b"GET /v1/connect HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Knock(NamedTuple):
    """A handshake and its answer."""

    status: int
    headers: dict[str, str]
    text: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def leave(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


async def knock(server: ServerProcess, host: str = "127.0.0.1") -> Knock:
    """Ask for a WebSocket from one of this machine's addresses."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, local_addr=(host, 0)
        )
        writer.write(_HANDSHAKE)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line.partition(": ") for line in head.splitlines()[1:] if line]
        headers = {name.lower(): value for name, _, value in lines}
        text = await reader.readexactly(int(headers.get("content-length", 0)))
    return Knock(int(head.split()[1]), headers, text.decode(), reader, writer)


async def let_in(server: ServerProcess, host: str = "127.0.0.1") -> Knock:
    """Knock until the door opens."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            one = await knock(server, host)
            if one.status == 101:
                return one
            await one.leave()


async def test_an_address_has_a_share_of_the_connections_and_others_keep_theirs(
    start_server: StartServer,
) -> None:
    server = start_server(arguments=("--set", "access.connections_per_address_max=3"))
    first = [await knock(server) for _ in range(3)]
    assert [one.status for one in first] == [101] * 3
    refused = await knock(server)
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert "3 connections" in refused.text
    other = await knock(server, "127.0.0.2")
    assert other.status == 101
    await first[0].leave()
    first[0] = await let_in(server)
    for one in (*first, refused, other):
        await one.leave()


async def test_who_finds_the_node_full_is_told_so_and_when_to_come(
    start_server: StartServer,
) -> None:
    server = start_server(arguments=("--set", "access.connections_max=2"))
    inside = [await knock(server) for _ in range(2)]
    refused = await knock(server)
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "2 connections" in refused.text
    for one in (*inside, refused):
        await one.leave()


async def test_health_and_metrics_stay_in_reach_when_the_node_is_full(
    start_server: StartServer,
) -> None:
    server = start_server(arguments=("--set", "access.connections_max=1"))
    inside = await knock(server)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await inside.leave()


async def test_a_node_that_drains_turns_newcomers_away_and_says_when_to_come(
    start_server: StartServer,
) -> None:
    server = start_server(arguments=("--set", "server.drain_timeout_s=60"))
    lingering = await knock(server)  # it does not answer the goodbye, so that the drain takes long
    server.terminate()
    async with asyncio.timeout(PATIENCE_S):
        assert await lingering.reader.read(2), "the goodbye: the drain has begun"
    refused = await knock(server)
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "shut down" in refused.text
    for one in (lingering, refused):
        await one.leave()
    assert await asyncio.to_thread(server.wait_stopped) == 0


async def test_a_node_without_a_free_descriptor_works_on_and_lets_in_those_who_wait_later(
    start_server: StartServer,
) -> None:
    server = start_server()
    fleet = Fleet(server)
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.descriptors() + 3, hard))
    knocking = [asyncio.ensure_future(knock(server)) for _ in range(12)]
    async with asyncio.timeout(PATIENCE_S):
        while "connections.not_accepted" not in server.stderr():
            await asyncio.sleep(0.01)
    cpu_s, began_s = cpu_of(server), time.monotonic()
    for number in range(5):
        assert (await robot.send(conv, number))["seq"] == 2 + number
        await asyncio.sleep(0.2)  # a loop that spins would show in this time
    assert cpu_of(server) - cpu_s < 0.6 * (time.monotonic() - began_s)
    assert sum(task.done() for task in knocking) <= 3
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
    answered = [await task for task in knocking]
    assert [one.status for one in answered] == [101] * 12
    assert server.stderr().count("connections.not_accepted") == 1, "it is told once"
    for one in answered:
        await one.leave()
    await fleet.aclose()


def cpu_of(server: ServerProcess) -> float:
    """Return the seconds of processor time that the server has used."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_robots_are_asked_to_come_back_from_a_drain_one_after_the_other(
    server: ServerProcess,
) -> None:
    fleet = Fleet(server)
    peers = [await fleet.online(f"r{number}") for number in range(20)]
    server.terminate()
    codes = [await peer.until_closed() for peer in peers]
    assert set(codes) == {CloseCode.DRAINING}
    asked = [next(n["retry_after"] for n in peer.notices if n["t"] == "bye") for peer in peers]
    assert len(set(asked)) == len(asked), "no two at the same moment"
    assert min(asked) >= 1_000
    await fleet.aclose()
    assert await asyncio.to_thread(server.wait_stopped) == 0


async def test_those_who_were_turned_away_do_not_count_against_their_address(
    start_server: StartServer,
) -> None:
    server = start_server(arguments=("--set", "access.connections_per_address_max=1"))
    inside = await knock(server)
    for _ in range(5):
        refused = await knock(server)
        assert refused.status == 429
        await refused.leave()
    await inside.leave()
    await (await let_in(server)).leave()
