"""What was delivered: the one log that every reader must see, and its bytes as the first reader got them.

All members of a group get the same bytes, so only the first one's frames are decoded; the others' are
compared with the *tape* of those, at the speed of memcmp. A reader whose frames are cut differently is
decoded too, and its events compared with the *ledger*, so nothing is taken for granted.
"""

from collections.abc import Callable
from typing import Final, Protocol

from bench.load.wire import Broken, EventSeen

_TAPE_BYTES_MAX: Final = 64 * 1024 * 1024


class Ledger:
    """The events of one conversation, in order, from seq 1."""

    def __init__(self, due_ns_of: Callable[[str], int], body: bytes) -> None:
        """Expect ``body`` in all events whose cid ``due_ns_of`` knows (a time other than 0)."""
        self.cids: list[str] = []
        self.due_ns: list[int] = []
        """When each event was meant to be sent; 0 for those that are not the bench's own."""
        self._due_ns_of = due_ns_of
        self._body = body

    def check(self, events: list[EventSeen], after: int) -> int:
        """Check that ``events`` follow seq ``after`` and are what other readers saw; return the last seq.

        Raises:
            Broken: a gap, an event twice, another order, or another body than was sent.
        """
        for event in events:
            after += 1
            if event.seq != after:
                raise Broken(f"seq {event.seq} was delivered where {after} was due")
            if after > len(self.cids):
                self._enter(event)
            elif event.cid != self.cids[after - 1]:
                raise Broken(f"two readers saw different events at seq {after}")
        return after

    def _enter(self, event: EventSeen) -> None:
        due_ns = self._due_ns_of(event.cid)
        if due_ns and bytes(event.body) != self._body:
            raise Broken(f"the body at seq {event.seq} is not the one that was sent")
        self.cids.append(event.cid)
        self.due_ns.append(due_ns)


class TapeReader(Protocol):
    """Somebody whose place on the tape must not be forgotten."""

    place: int

    def leave_tape(self) -> None:
        """Keep what is needed of the tape before it goes."""


class Tape:
    """The stream of ``deliver`` frames of one conversation. Places count from its beginning, for good."""

    def __init__(self) -> None:
        self.recorded = bytearray()
        self.origin = 0
        """Where in the stream ``recorded`` begins: what was before is forgotten."""
        self.stops: list[int] = []
        """Where each frame ends."""
        self.lasts: list[int] = []
        """The last seq that each frame holds."""
        self.last = 0
        self._index_of: dict[int, int] = {}
        self._readers: list[TapeReader] = []

    @property
    def end(self) -> int:
        """Where the next frame will be recorded."""
        return self.origin + len(self.recorded)

    def join(self, reader: TapeReader) -> None:
        """Tell ``reader`` when the part of the tape that it stands on is about to go."""
        self._readers.append(reader)

    def record(self, frame: bytes, *, first: int, last: int) -> None:
        """Append a frame that holds seq ``first`` to ``last``."""
        self._index_of[first] = len(self.stops)
        self.stops.append(self.end + len(frame))
        self.lasts.append(last)
        self.recorded += frame
        self.last = last
        if len(self.recorded) > _TAPE_BYTES_MAX:
            self._forget_half()

    def index_of(self, seq: int) -> int | None:
        """Return the index of the frame that begins with ``seq``; the one to come if it is the next."""
        if seq == self.last + 1:
            return len(self.stops)
        return self._index_of.get(seq)

    def place_of(self, index: int) -> int:
        """Return where the frame ``index`` begins."""
        return self.stops[index - 1] if index else 0

    def _forget_half(self) -> None:
        keep_from = self.stops[-2] - _TAPE_BYTES_MAX // 2
        for reader in self._readers:
            if reader.place < keep_from:
                reader.leave_tape()
        del self.recorded[: keep_from - self.origin]
        self.origin = keep_from
