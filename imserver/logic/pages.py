"""Pages of logs that were read from the store lately, for readers that come to the same place one by one.

After an outage every member of a group has missed the same events, and all come back within the same seconds.
The first one's page is read and encoded for all of them. What is kept is bounded; the page that was not asked
for the longest goes first. Events never change, so a page is good as long as its log has its epoch; that they
were let go meanwhile is for the caller to know.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from imserver.logic.tail import TailFrame, cut
from imserver.protocol.packed_events import PackedEvents
from imserver.protocol.server_frames import PackedDeliver
from imserver.protocol.shared_frame import SharedFrame

if TYPE_CHECKING:
    from imserver.logic.conversations import Conversation

WORTH_BYTES: Final = 16 * 1024
"""A smaller page is kept only if it reaches the head: else a small window cut it short, for one reader."""


class Pages:
    """The pages of all conversations, within one bound."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._frames: OrderedDict[tuple[str, str, int], TailFrame] = OrderedDict()

    @property
    def bytes_held(self) -> int:
        """The memory that all pages take, about."""
        return self._bytes

    def add(self, shared: SharedFrame, page: PackedEvents, *, head: int) -> None:
        """Keep ``page``, in its frame ``shared``, of a log that ends at ``head`` now; best when it has been
        encoded."""
        size = size_of(shared, page)
        if size > self._bytes_max:
            return
        if size < WORTH_BYTES and page.last < head:
            return
        frame: PackedDeliver = shared.frame  # type: ignore[assignment]
        key = (frame.conv, frame.epoch, page.first)
        self._forget(key)
        self._frames[key] = TailFrame(page.first, page.last, shared, size)
        self._bytes += size
        while self._bytes > self._bytes_max:
            self._forget(next(iter(self._frames)))

    def after(self, conversation: Conversation, seq: int, *, count_max: int) -> TailFrame | None:
        """Return a frame right after ``seq`` with at most ``count_max`` events, or None if none is kept."""
        key = (conversation.name, conversation.epoch, seq + 1)
        frame = self._frames.get(key)
        if frame is None:
            return None
        self._frames.move_to_end(key)
        return cut(frame, seq, count_max)

    def _forget(self, key: tuple[str, str, int]) -> None:
        frame = self._frames.pop(key, None)
        if frame is not None:
            self._bytes -= frame.bytes_held


def size_of(shared: SharedFrame, page: PackedEvents) -> int:
    """Estimate the memory that ``page`` and its frame ``shared`` take with one encoding, in bytes."""
    size = len(memoryview(page.packed))
    return size + (shared.bytes_encoded or size)
