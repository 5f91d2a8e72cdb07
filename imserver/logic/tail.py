"""The hot tails: the last committed frames of each conversation, for readers that are slightly behind.

A reader that fell behind by little is fed from here without asking the store, and with the bytes that were
encoded for everybody else. All tails together are bounded; the oldest frame of all goes first, whichever
conversation it belongs to, so a busy conversation never costs more memory than it brings.
"""

from bisect import bisect_right
from collections import deque

from msgspec import Struct

from imserver.protocol.events import Event
from imserver.protocol.server_frames import Deliver, PackedDeliver
from imserver.protocol.shared_frame import SharedFrame


class TailFrame(Struct, frozen=True, gc=False):
    """Consecutive events in one frame, ``first`` to ``last``."""

    first: int
    last: int
    shared: SharedFrame
    bytes_held: int


class Tail:
    """The last frames of one conversation, with consecutive seq."""

    __slots__ = ("_dropped", "_firsts", "_frames")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._frames: list[TailFrame | None] = []
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._frames) - self._dropped

    def add(self, frame: TailFrame) -> None:
        self._firsts.append(frame.first)
        self._frames.append(frame)

    def drop_oldest(self) -> None:
        self._frames[self._dropped] = None
        self._dropped += 1
        if self._dropped * 2 > len(self._frames):  # now and then, so that it costs little
            del self._firsts[: self._dropped], self._frames[: self._dropped]
            self._dropped = 0

    def after(self, seq: int, count_max: int) -> TailFrame | None:
        """Return a frame that begins right after ``seq`` with at most ``count_max`` events, or None if the
        tail does not reach back that far."""
        at = bisect_right(self._firsts, seq + 1, lo=self._dropped) - 1
        frame = self._frames[at] if at >= self._dropped else None
        return cut(frame, seq, count_max) if frame is not None and frame.last > seq else None


class Tails:
    """The memory that all tails of a node share."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._order: deque[tuple[Tail, int]] = deque()

    def add(self, tail: Tail, frame: TailFrame) -> None:
        """Keep ``frame`` as the newest of ``tail``, at the cost of the oldest ones of any conversation."""
        tail.add(frame)
        self._order.append((tail, frame.bytes_held))
        self._bytes += frame.bytes_held
        while self._bytes > self._bytes_max:
            oldest, bytes_held = self._order.popleft()
            oldest.drop_oldest()
            self._bytes -= bytes_held


def bytes_of(shared: SharedFrame, events: list[Event]) -> int:
    """Estimate the memory that the frame ``shared`` of ``events`` takes with one encoding, in bytes."""
    # An encoding is about as long as the bodies, and its length is known, where theirs has to be summed up.
    return 2 * (shared.bytes_encoded or body_bytes(events)) + 400 * len(events)


def body_bytes(events: list[Event]) -> int:
    """Return how long the bodies of events are together."""
    return sum([len(event.body) for event in events])


def cut(frame: TailFrame, seq: int, count_max: int) -> TailFrame:
    """Return the part of a frame that follows ``seq``, with at most ``count_max`` events."""
    if frame.first == seq + 1 and frame.last - seq <= count_max:
        return frame
    whole: Deliver | PackedDeliver = frame.shared.frame  # type: ignore[assignment]
    start = seq + 1 - frame.first
    events = whole.events[start : start + count_max]
    part = Deliver(conv=whole.conv, epoch=whole.epoch, events=events)
    return TailFrame(events[0].seq, events[-1].seq, SharedFrame(part), 0)
