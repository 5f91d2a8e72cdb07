"""The doorway: who is taken in, and who is answered from the bare socket while too many come."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
import uvloop
from prometheus_client import CollectorRegistry

from imserver.access.admission import (
    OPENINGS_AT_ONCE,
    OPENINGS_WAITING_MAX,
    UPGRADES_A_TURN,
    WAITING_ALWAYS,
    Admission,
)
from imserver.access.doorway import ACCEPTS_AT_MOST, Doorway
from imserver.access.metrics import AccessMetrics
from imserver.access.overflow import Overflow
from tests.until import PATIENCE_S

OPENING = b"GET /v1/connect HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
TAKEN = b"taken in\n"


class Guest(asyncio.Protocol):
    """Says that it was taken in, whatever it is asked."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(TAKEN)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport


class Entrance:
    """A doorway on a free port, and the queue behind it."""

    def __init__(self) -> None:
        self.admission = Admission(wait_max_s=0.001)
        self.registry = CollectorRegistry()
        self.guests: list[Guest] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self._leave = asyncio.Event()
        self.doorway = Doorway(
            socket.create_server(("127.0.0.1", 0)),
            self._guest,
            spawn=self._spawn,
            tls=None,
            overflow=Overflow(self.admission, AccessMetrics(self.registry)),
        )
        self.doorway.open()

    def _guest(self) -> Guest:
        self.guests.append(Guest())
        return self.guests[-1]

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.add(asyncio.get_running_loop().create_task(work, name=name))

    async def fill(self) -> None:
        """Let so many newcomers wait that one more would wait too long."""
        for _ in range(OPENINGS_AT_ONCE + OPENINGS_WAITING_MAX):
            self._spawn(self._stay(), "opening")
        while self.admission.openings.waiting < OPENINGS_WAITING_MAX:
            await asyncio.sleep(0)
        for _ in range(WAITING_ALWAYS + UPGRADES_A_TURN):
            self.admission.enter(lambda: None)
        assert self.admission.is_full

    async def _stay(self) -> None:
        async with self.admission.openings:
            await self._leave.wait()

    async def ask(self, request: bytes) -> bytes:
        """Return what a request is answered with that is there before its connection is accepted."""
        client = socket.create_connection(self.doorway.address)
        client.sendall(request)
        reader, writer = await asyncio.open_connection(sock=client)
        answer = await reader.readline()
        if answer != TAKEN:
            answer += await reader.read()
        writer.close()
        return answer

    async def aclose(self) -> None:
        self.doorway.close()
        self._leave.set()
        for guest in self.guests:
            guest.transport.abort()
        if self.tasks:
            await asyncio.wait(self.tasks)


@pytest.fixture
async def entrance() -> AsyncIterator[Entrance]:
    entrance = Entrance()
    yield entrance
    await entrance.aclose()


async def test_everybody_is_taken_in_as_long_as_few_come(entrance: Entrance) -> None:
    assert await entrance.ask(OPENING) == TAKEN
    assert await entrance.ask(HEALTH) == TAKEN


async def test_while_too_many_come_a_robot_is_told_when_to_come_back(entrance: Entrance) -> None:
    await entrance.fill()
    for _ in range(5):
        answer = await entrance.ask(OPENING)
        head, _, text = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        fields = dict(line.split(b": ") for line in head.split(b"\r\n")[1:])
        assert int(fields[b"Retry-After"]) >= 1
        assert int(fields[b"Content-Length"]) == len(text)
        assert b"Too many" in text
    assert entrance.guests == []
    assert entrance.registry.get_sample_value("imserver_connections_turned_away_total") == 5


async def test_while_too_many_come_everything_else_is_taken_in(entrance: Entrance) -> None:
    await entrance.fill()
    assert await entrance.ask(HEALTH) == TAKEN
    assert await entrance.ask(OPENING.removesuffix(b"\r\n\r\n")) == TAKEN, "the head has no end yet"


async def test_while_too_many_come_who_has_gone_again_is_not_taken_in(entrance: Entrance) -> None:
    await entrance.fill()
    for linger in (b"", struct.pack("ii", 1, 0)):  # once in good order, once by a reset
        gone = socket.create_connection(entrance.doorway.address)
        if linger:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        gone.close()
    assert await entrance.ask(HEALTH) == TAKEN  # which came after them
    assert len(entrance.guests) == 1


async def test_a_crowd_is_taken_in_a_few_at_a_time(entrance: Entrance) -> None:
    host, port = entrance.doorway.address
    crowd = [socket.create_connection((host, port)) for _ in range(100)]
    most = before = 0
    async with asyncio.timeout(PATIENCE_S):
        while len(entrance.guests) < 100:
            await asyncio.sleep(0)
            most, before = max(most, len(entrance.guests) - before), len(entrance.guests)
    assert most <= ACCEPTS_AT_MOST
    for one in crowd:
        one.close()


def test_a_node_that_ends_closes_nothing_under_the_hands_of_a_protocol() -> None:
    uvloop.run(_write_after_the_scope_has_ended())


async def _write_after_the_scope_has_ended() -> None:
    guests: list[Guest] = []
    tasks: set[asyncio.Task[None]] = set()

    class Last(Guest):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            guests.append(self)
            for task in tasks:
                task.cancel()

    def spawn(work: Coroutine[Any, Any, None], name: str) -> None:
        tasks.add(asyncio.get_running_loop().create_task(work, name=name))

    doorway = Doorway(socket.create_server(("127.0.0.1", 0)), Last, spawn=spawn, tls=None)
    doorway.open()
    reader, writer = await asyncio.open_connection(*doorway.address)
    while not guests:
        await asyncio.sleep(0)
    await asyncio.wait(tasks)
    guests[0].transport.write(TAKEN)
    assert await reader.readline() == TAKEN
    guests[0].transport.close()
    writer.close()
    doorway.close()
