"""Compression from end to end: robots that ask for it, beside robots that do not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from client_sdk import Options, Robot
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet

BODY = {"words": ["the same again and again"] * 4_000}
BODY_BYTES = 100_000


class Relay:
    """Stands between a robot and its server, and counts the bytes that pass."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.bytes_passed = 0

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._port)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(reader, other_writer))
            group.create_task(self._pump(other_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.bytes_passed += len(data)
            writer.write(data)
        writer.close()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[tuple[Relay, int]]:
    """Yield a relay and its port."""
    between = Relay(port)
    server = await asyncio.start_server(between.pass_on, "127.0.0.1", 0)
    async with server:
        yield between, server.sockets[0].getsockname()[1]


async def body_at(robot: Robot, conv: str, seq: int) -> object:
    """Return the body of an event that is delivered to a robot."""
    async for event in robot.events():
        if (event.conv, event.seq) == (conv, seq):
            return event.body
    raise AssertionError("events have no end")


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize("door", ["ws", "tcp"])
@pytest.mark.parametrize("deflate", [True, False])
async def test_who_asks_for_it_sends_and_is_sent_less(
    shared_server: ServerProcess,
    door: str,
    codec: Literal["msgpack", "json"],
    deflate: bool,
) -> None:
    server, name = shared_server, Fleet(shared_server).name
    port = server.port if door == "ws" else server.tcp_port
    options = Options(codec=codec, deflate=deflate)
    async with (
        relay(port) as (between, relay_port),
        Robot(
            f"{door}://127.0.0.1:{relay_port}",
            name=name("thin"),
            bearer=server.token(name("thin")),
            options=options,
        ) as thin,
        Robot(server.ws_url, name=name("wide"), bearer=server.token(name("wide"))) as wide,
    ):
        sent = await thin.send(thin.direct(name("wide")), BODY)
        for robot in (thin, wide):
            assert await body_at(robot, sent.conv, sent.seq) == BODY
        back = await wide.send(sent.conv, BODY)
        assert await body_at(thin, back.conv, back.seq) == BODY
    # Three times through the line: sent, delivered, delivered.
    assert (between.bytes_passed < BODY_BYTES) is deflate
    assert deflate or between.bytes_passed > 3 * BODY_BYTES
