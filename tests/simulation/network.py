"""The simulated network: byte streams between processes, with delays, cuts, stalls and silence.

A line joins two ends. What an end writes waits in its process until the system has room (then in flight, or
unread at the other side), arrives in order, late, and in pieces of any size. A line can be cut after any
byte, stall for a while, go silent for ever without telling anybody, or be closed in one direction.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

from tests.simulation.timeline import SimLoop, Timeline
from tests.simulation.trace import Trace

LOW_PART = 4


class Weather:
    """What the network is like at present.

    Attributes:
        delay_s: least and most time a piece of data travels.
        pieces: how likely it is that a write is torn into small pieces.
        refusing: new connections are refused.
        swallowing: new connections get no answer at all.
    """

    def __init__(self) -> None:
        self.delay_s = (0.0002, 0.004)
        self.pieces = 0.0
        self.refusing = False
        self.swallowing = False


class Network:
    """All lines, and who listens."""

    def __init__(self, timeline: Timeline, trace: Trace, dice: random.Random) -> None:
        self.timeline = timeline
        self.trace = trace
        self.dice = dice
        self.weather = Weather()
        self.capacity = 65_536
        self.lines: list[Line] = []
        self._listener: tuple[SimLoop, Callable[[], asyncio.BaseProtocol]] | None = None
        self._dialled = 0

    def listen(self, loop: SimLoop, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        """Let a process take connections from now on."""
        self._listener = (loop, factory)

    def attach(self, loop: SimLoop) -> None:
        """Give a process its way out: the loop's ``create_connection``."""

        async def create_connection(factory: Callable[[], Any], *_: Any, **__: Any) -> Any:
            opened = loop.create_future()
            self._dial(loop, opened)
            end = await opened
            protocol = factory()
            end.serve(protocol)
            return end, protocol

        loop.create_connection = create_connection

    def drop_process(self, loop: SimLoop, *, politely: bool) -> None:
        """Close the lines of a process that died, as its system does."""
        if self._listener is not None and self._listener[0] is loop:
            self._listener = None
        for line in list(self.lines):
            for end in line.ends:
                if end.loop is loop:
                    end.die_with_process(politely=politely)

    def delay(self) -> float:
        """Return how long the next piece travels, in seconds."""
        return self.dice.uniform(*self.weather.delay_s)

    def _dial(self, loop: SimLoop, opened: asyncio.Future[Any]) -> None:
        self._dialled += 1
        if self.weather.swallowing:
            self.trace.counts["connects swallowed"] += 1
            return
        self.timeline.after(self.delay(), self._arrived, loop, opened, self._dialled)

    def _arrived(self, loop: SimLoop, opened: asyncio.Future[Any], number: int) -> None:
        listener = self._listener
        back_s = self.delay()
        if self.weather.refusing or listener is None or not listener[0].alive:
            self.trace.counts["connects refused"] += 1
            refused = ConnectionRefusedError("simulated: connection refused")
            self.timeline.after(back_s, _settle, loop, opened, refused)
            return
        server_loop, factory = listener
        line = Line(self, loop, server_loop, number)
        self.lines.append(line)
        client, server = line.ends
        server_loop.call_soon(lambda: server.serve(factory()))
        self.timeline.after(back_s, _settle, loop, opened, client)


class Line:
    """A connection: its client's end and its server's.

    Attributes:
        cut_after: bytes that still pass, in both directions together, before it breaks; None for no limit.
        stalled_until_s: nothing arrives before.
        silent: nothing arrives any more, and nobody is told.
    """

    def __init__(self, network: Network, client: SimLoop, server: SimLoop, number: int) -> None:
        self.network = network
        self.number = number
        self.cut_after: int | None = None
        self.stalled_until_s = 0.0
        self.silent = False
        self.ends = (End(self, client, f"{number}c"), End(self, server, f"{number}s"))
        self.ends[0].peer, self.ends[1].peer = self.ends[1], self.ends[0]

    def cut(self) -> None:
        """Break the connection: both ends learn of it, each in its time."""
        for end in self.ends:
            self.network.timeline.after(self.network.delay(), end.reset)

    def forget_if_over(self) -> None:
        if self in self.network.lines and all(end.lost for end in self.ends):
            self.network.lines.remove(self)


class End(asyncio.Transport):
    """One side of a line: the transport that a protocol sees.

    Attributes:
        lost: its protocol was told, or will never be told, that the connection is over.
    """

    peer: "End"

    def __init__(self, line: Line, loop: SimLoop, name: str) -> None:
        super().__init__()
        self.line = line
        self.loop = loop
        self.name = name
        self.lost = False
        self._network = line.network
        self._protocol: asyncio.Protocol | None = None
        self._waiting = bytearray()
        self._in_flight = 0
        self._last_arrival_s = 0.0
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._eof_arrived = False
        self._reading = True
        self._read_is_due = False
        self._closing = False
        self._eof_asked = False
        self._eof_sent = False
        self._writing_paused = False
        self._high, self._low = 65_536, 16_384

    # asyncio.Transport

    def serve(self, protocol: asyncio.BaseProtocol) -> None:
        """Begin to speak with a protocol."""
        self._protocol = cast(asyncio.Protocol, protocol)
        self._protocol.connection_made(self)
        self._read_soon()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("simulated", self.line.number) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 65_536 if high is None else high
        self._low = self._high // LOW_PART if low is None else low

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        if not data or self.lost or self._closing or self._eof_asked:
            return
        self._waiting += data
        self._pump()
        if len(self._waiting) > self._high and not self._writing_paused:
            self._writing_paused = True
            self._network.trace.counts["writing paused"] += 1
            assert self._protocol is not None
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        self._eof_asked = True
        self._pump()

    def pause_reading(self) -> None:
        self._reading = False
        self._network.trace.counts["reading paused"] += 1

    def resume_reading(self) -> None:
        self._reading = True
        self._read_soon()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._reading = False
            self._pump()

    def abort(self) -> None:
        if not self.lost:
            self._waiting.clear()
            self._lose(None)
            self._tell_peer(self.peer.reset)

    # What the network does to it.

    def reset(self) -> None:
        """Learn that the connection broke."""
        if not self.lost:
            self._waiting.clear()
            self._lose(ConnectionResetError("simulated: connection reset"))

    def half_close(self) -> None:
        """Let the other side see an end of the stream that this side did not ask for."""
        self._tell_peer(self.peer._fin)

    def die_with_process(self, *, politely: bool) -> None:
        if not self.lost:
            # A system that has data which nobody will read resets the connection.
            politely = politely and not self._unread
            self._over()
            self._tell_peer(self.peer._fin if politely else self.peer.reset)

    def _tell_peer(self, tell: Callable[[], None]) -> None:
        if not self.line.silent:
            self._network.timeline.at(self._arrival_s(), tell)

    def _arrival_s(self) -> float:
        network = self._network
        arrival_s = max(
            network.timeline.now_s + network.delay(),
            self.line.stalled_until_s,
            self._last_arrival_s,
        )
        self._last_arrival_s = arrival_s
        return arrival_s

    def _pump(self) -> None:
        """Hand to the system what it has room for, and then the end of the stream if it is due."""
        room = self._network.capacity - self._in_flight - self.peer._unread_bytes
        if self._waiting and room > 0:
            data = bytes(self._waiting[:room])
            del self._waiting[:room]
            self._carry(data)
        if self._waiting or self.lost:
            return
        if (self._eof_asked or self._closing) and not self._eof_sent:
            self._eof_sent = True
            self._tell_peer(self.peer._fin)
        if self._closing:
            self._lose(None)

    def _carry(self, data: bytes) -> None:
        self._network.trace.counts["bytes"] += len(data)
        line = self.line
        if line.cut_after is not None:
            data = data[: line.cut_after]
            line.cut_after -= len(data)
            if line.cut_after <= 0:
                line.cut_after = None
                self._network.trace.counts["cuts"] += 1
                self._send_piece(data)
                self._tell_peer(self.peer.reset)
                self._network.timeline.after(self._network.delay(), self.reset)
                return
        dice, weather = self._network.dice, self._network.weather
        while weather.pieces and len(data) > 1 and dice.random() < weather.pieces:
            size = min(dice.choice((1, 2, 3, 7, 60)), len(data) - 1)
            self._send_piece(data[:size])
            data = data[size:]
        self._send_piece(data)

    def _send_piece(self, data: bytes) -> None:
        self._in_flight += len(data)
        if data and not self.line.silent:
            self._network.timeline.at(self._arrival_s(), self._arrive_at_peer, data)

    def _arrive_at_peer(self, data: bytes) -> None:
        self._in_flight -= len(data)
        peer = self.peer
        if self.line.silent:
            return
        if peer.lost:  # the system at the other side knows of no such connection any more
            self._network.timeline.after(self._network.delay(), self.reset)
            return
        peer._unread.append(data)
        peer._unread_bytes += len(data)
        peer._read_soon()

    def _fin(self) -> None:
        self._eof_arrived = True
        self._read_soon()

    def _read_soon(self) -> None:
        can_read = self._protocol is not None and self._reading and not self._read_is_due
        if can_read and (self._unread or self._eof_arrived):
            self._read_is_due = True
            self.loop.call_soon(self._read)

    def _read(self) -> None:
        self._read_is_due = False
        if self.lost or not self._reading or self._closing or self._protocol is None:
            return
        if self._unread:
            data = b"".join(self._unread)
            self._unread.clear()
            self._unread_bytes = 0
            self._network.timeline.after(self._network.delay(), self.peer._on_room)
            self._protocol.data_received(data)
            self._read_soon()
        elif self._eof_arrived:
            self._reading = False
            if not self._protocol.eof_received():
                self.close()

    def _on_room(self) -> None:
        if self.lost or not self.loop.alive:
            return
        if self._waiting:
            self._pump()
        if self._writing_paused and len(self._waiting) <= self._low and not self.lost:
            self._writing_paused = False
            assert self._protocol is not None
            self.loop.call_soon(self._protocol.resume_writing)

    def _lose(self, problem: Exception | None) -> None:
        self._over()
        if self._protocol is not None:
            self.loop.call_soon(self._protocol.connection_lost, problem)

    def _over(self) -> None:
        self.lost = self._closing = True
        self._unread.clear()
        self._unread_bytes = 0
        self.line.forget_if_over()


def _settle(loop: SimLoop, opened: asyncio.Future[Any], outcome: Any) -> None:
    if opened.done() or not loop.alive:
        if isinstance(outcome, End):
            outcome.abort()
    elif isinstance(outcome, Exception):
        opened.set_exception(outcome)
    else:
        opened.set_result(outcome)
