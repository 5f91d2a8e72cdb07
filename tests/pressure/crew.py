"""Honest members of a group under a steady load: one speaks at a rate, the others listen and ack.

The load is open: a message's latency counts from when it was due, so a server that stalls cannot hide it.
"""

import asyncio
import time
from typing import Any, Final, cast

import msgspec
import uvloop
from msgspec import Raw

from imserver.protocol.client_frames import Ack, Send
from imserver.protocol.codec import MSGPACK
from imserver.protocol.server_frames import Bye, Deliver, Error, Gap, Sent
from tests.pressure import wire
from tests.pressure.line import Line
from tests.pressure.site import Site, names

TICK_S: Final = 0.001
ACK_EVERY: Final = 50
PATIENCE_S: Final = 120.0


class Broken(Exception):
    """A member saw what must not happen."""


class _Member(asyncio.Protocol):
    """Reads what the server writes on an open session."""

    def __init__(self, crew: "Crew") -> None:
        self.crew = crew
        self.transport = cast(asyncio.Transport, None)
        self._stream = wire.Stream()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        for first, payload in self._stream.take(data):
            if first == wire.BINARY:
                self.take(MSGPACK.decode_server(payload), now)
            elif first == wire.PING:
                self.transport.write(wire.message(payload, wire.PONG))

    def connection_lost(self, exc: Exception | None) -> None:
        self.crew.problems.append(f"a member's connection was lost: {exc!r}")

    def take(self, frame: Any, now: float) -> None:
        if isinstance(frame, Error | Bye | Gap):
            self.crew.problems.append(f"a member was told {frame}")


class _Listener(_Member):
    """Receives every event, in order, and acks."""

    def __init__(self, crew: "Crew") -> None:
        super().__init__(crew)
        self.seq = 0
        self._acked = 0

    def take(self, frame: Any, now: float) -> None:
        if not isinstance(frame, Deliver):
            super().take(frame, now)
            return
        for event in frame.events:
            if self.seq and event.seq != self.seq + 1:
                self.crew.problems.append(f"{event.seq} was delivered after {self.seq}")
            self.seq = event.seq
            self.crew.note_delivery(event.cid, now)
        if self.seq - self._acked >= ACK_EVERY:
            self._acked = self.seq
            self.transport.write(wire.messages(Ack(frame.conv, self.seq)))


class _Speaker(_Member):
    """Counts the answers to what was sent."""

    def take(self, frame: Any, now: float) -> None:
        if isinstance(frame, Sent):
            self.crew.note_answer(frame, now)
        elif isinstance(frame, Error) and frame.id is not None:
            self.crew.note_refusal(frame)
        else:
            super().take(frame, now)


class Crew:
    """The honest members of one group on one site.

    Attributes:
        deliveries, answers: latencies in seconds of what was asked for while a load ran.
        problems: what must not have happened.
        head: the last seq that was answered.
    """

    def __init__(self, site: Site, *, group: str, listeners: int = 5, others: list[str]) -> None:
        """Come online and create the group, to which ``others`` belong too; they were online once."""
        self.deliveries: list[float] = []
        self.answers: list[float] = []
        self.problems: list[str] = []
        self.head = 0
        self._due: list[float] = []
        self._answered = 0
        self._loop = uvloop.new_event_loop()
        speaker = site.line(f"{group}-speaker", auto=False)
        lines = {name: site.line(name) for name in names(f"{group}-listener", listeners)}
        self.conv = site.group(speaker, group, *lines, *others)
        self._speaker = self._adopt(speaker, _Speaker(self))
        self._listeners = [self._adopt(line, _Listener(self)) for line in lines.values()]

    def _adopt(self, line: Line, member: Any) -> Any:
        line.socket.setblocking(False)
        self._loop.run_until_complete(
            self._loop.create_connection(lambda: member, sock=line.socket.dup())
        )
        return member

    def run(self, *, seconds: float, rate: float, body: bytes) -> None:
        """Speak at ``rate`` messages a second for ``seconds``, and wait until everybody has everything.

        Raises:
            Broken: that did not come to pass.
        """
        self._loop.run_until_complete(self._run(seconds, rate, body))

    def close(self) -> None:
        """Leave. What the members see from here on does not count."""
        self.problems = []
        for member in (self._speaker, *self._listeners):
            member.transport.abort()
        self._loop.run_until_complete(asyncio.sleep(0))  # a loop that is closed with them hangs
        self._loop.close()

    def note_delivery(self, cid: str, now: float) -> None:
        number = cid.removeprefix("m")
        if number.isdigit():
            self.deliveries.append(now - self._due[int(number)])

    def note_answer(self, sent: Sent, now: float) -> None:
        self._answered += 1
        self.head = max(self.head, sent.seq)
        self.answers.append(now - self._due[sent.id])

    def note_refusal(self, error: Error) -> None:
        self._answered += 1
        self.problems.append(f"an honest send was refused: {error.code}, {error.message}")

    async def _run(self, seconds: float, rate: float, body: bytes) -> None:
        start, first = time.monotonic(), len(self._due)
        count = int(seconds * rate)
        for number in range(count):
            self._due.append(start + number / rate)
        at = first
        while at < len(self._due):
            due = at
            while due < len(self._due) and self._due[due] <= time.monotonic():
                due += 1
            if due > at:
                self._speaker.transport.write(self._sends(at, due, body))
                at = due
            await asyncio.sleep(TICK_S)
        await self._settle()

    def _sends(self, first: int, end: int, body: bytes) -> bytes:
        raw = Raw(body)
        return wire.messages(*(Send(n, self.conv, f"m{n}", raw) for n in range(first, end)))

    async def _settle(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while self._answered < len(self._due) or any(
            listener.seq < self.head for listener in self._listeners
        ):
            if time.monotonic() > end:
                raise Broken(
                    f"{self._answered} of {len(self._due)} sends were answered; the listeners are at "
                    f"{[listener.seq for listener in self._listeners]} of {self.head}"
                )
            await asyncio.sleep(TICK_S)


def body_of(size: int) -> bytes:
    """Return a text of some ``size`` bytes as a body."""
    return msgspec.msgpack.encode("x" * size)


def percentile_ms(latencies: list[float], percent: float) -> float:
    """Return the latency that ``percent`` of all are no longer than, in milliseconds."""
    ordered = sorted(latencies)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1_000
