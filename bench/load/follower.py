"""A member that receives: it checks every event, acks as a client must, and notes the latencies."""

from collections.abc import Callable
from typing import Any

from bench.load import wire
from bench.load.connection import Connection
from bench.load.histogram import Histogram
from bench.load.ledger import Ledger, Tape
from bench.load.wire import AckTemplate, Broken, DeliverSeen
from imserver.protocol.server_frames import Bye, Error, Gap


class Follower:
    """Reads one conversation from seq 1 on a connection."""

    def __init__(
        self, connection: Connection, *, conv: str, window: int, tape: Tape, ledger: Ledger
    ) -> None:
        self.seq = 0
        """Everything up to here was received, in order and without a gap."""
        self.place = 0
        self.decoded = 0
        """Frames that could not be compared with the tape and were decoded."""
        self.latency: Histogram | None = None
        """Where to count latencies, if they are to be counted."""
        self.on_other: Callable[[Any, int], None] = _refuse_errors
        """Takes the frames that are no ``deliver``."""
        self._connection = connection
        self._conv = conv
        self._ack = AckTemplate(conv)
        self._ack_every = max(window // 4, 1)
        self._acked = 0
        self._tape = tape
        self._ledger = ledger
        self._index = 0
        self._on_tape = False
        self._partial = b""
        tape.join(self)

    def take(self, chunk: memoryview, now_ns: int) -> None:
        """Take the next bytes of the stream, received at ``now_ns``.

        Raises:
            Broken: what came is not what must come.
        """
        tape = self._tape
        if self._on_tape and tape.recorded.startswith(chunk, self.place - tape.origin):
            self.place = place = self.place + len(chunk)
            stops, index = tape.stops, self._index
            while index < len(stops) and stops[index] <= place:
                index += 1
            if index > self._index:
                self._index = index
                if self.latency is not None:
                    self._record(tape.lasts[index - 1], now_ns)
                self.seq = tape.lasts[index - 1]
        else:
            self._take_apart(bytes(chunk), now_ns)
        if self.seq - self._acked >= self._ack_every:
            self.acknowledge()

    def acknowledge(self) -> None:
        """Ack everything that was received."""
        self._acked = self.seq
        self._connection.write(self._ack(self.seq))

    def leave_tape(self) -> None:
        """Keep the bytes of an unfinished frame, and read on without the tape."""
        if self._on_tape:
            tape = self._tape
            start = tape.place_of(self._index)
            self._partial = bytes(tape.recorded[start - tape.origin : self.place - tape.origin])
            self._on_tape = False

    def _advance(self, last: int, now_ns: int) -> None:
        if self.latency is not None:
            self._record(last, now_ns)
        self.seq = last

    def _record(self, last: int, now_ns: int) -> None:
        assert self.latency is not None
        due_ns, record = self._ledger.due_ns, self.latency.record_ns
        for place in range(self.seq, last):
            if due_ns[place]:
                record(now_ns - due_ns[place])

    def _take_apart(self, chunk: bytes, now_ns: int) -> None:
        self.leave_tape()
        stream = self._partial + chunk
        found, rest = wire.scan(stream, 0)
        start = 0
        for first, payload, stop in found:
            if first != wire.FINAL | wire.BINARY:
                self._connection.control(first, stream[payload:stop])
            elif not self._is_next_on_tape(stream[start:stop], now_ns):
                self._decode(stream[start:stop], payload - start, now_ns)
            start = stop
        self._partial = stream[rest:]
        self._return_to_tape()

    def _is_next_on_tape(self, frame: bytes, now_ns: int) -> bool:
        tape = self._tape
        index = tape.index_of(self.seq + 1)
        if index is None or index == len(tape.stops):
            return False
        start = tape.place_of(index)
        if start < tape.origin or tape.stops[index] - start != len(frame):
            return False
        if not tape.recorded.startswith(frame, start - tape.origin):
            return False
        self._advance(tape.lasts[index], now_ns)
        return True

    def _decode(self, frame: bytes, payload: int, now_ns: int) -> None:
        seen = wire.decode(memoryview(frame)[payload:])
        if not isinstance(seen, DeliverSeen):
            self.on_other(seen, now_ns)
            return
        if seen.conv != self._conv:
            raise Broken(f"events of {seen.conv} were delivered to a reader of {self._conv} alone")
        self.decoded += 1
        first = self.seq + 1
        last = self._ledger.check(seen.events, self.seq)
        self._advance(last, now_ns)
        if self._tape.last == first - 1:
            self._tape.record(frame, first=first, last=last)

    def _return_to_tape(self) -> None:
        tape = self._tape
        index = tape.index_of(self.seq + 1)
        if index is None:
            return
        start = tape.place_of(index)
        if start < tape.origin or not tape.recorded.startswith(self._partial, start - tape.origin):
            return
        self._index = index
        self.place = start + len(self._partial)
        self._partial = b""
        self._on_tape = True


def _refuse_errors(frame: Any, _now_ns: int) -> None:
    if isinstance(frame, Error | Bye | Gap):
        raise Broken(f"the server says: {frame}")
