"""A long poll: a reader of the log that waits for the next events, once.

It reads as a session does, so that what a poll brings is what a session would have been given at that moment:
in order, without a hole, and up to its robot's own removal from a group.
"""

import asyncio

from msgspec import Struct

from imserver.access.http.visit import Visit
from imserver.protocol.events import Event
from imserver.protocol.server_frames import Deliver, PackedDeliver
from imserver.protocol.shared_frame import SharedFrame


class Poll(Visit):
    """The `Peer` of a request that waits.

    Attributes:
        events: what came.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.blocked = False
        self._limit = limit
        self._is_over = False
        self._woken = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        return self._is_over

    @property
    def congested(self) -> bool:
        return self._is_over or bool(self.events)

    async def news(self, wait_s: float) -> None:
        """Return when there are events, or will be none: the time is over, or the node stops."""
        try:
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
        except TimeoutError:
            self._is_over = True

    def push(self, shared: SharedFrame) -> bool:
        frame = shared.frame
        if self.congested:
            return False
        if isinstance(frame, Deliver | PackedDeliver):
            self.events = frame.events[: self._limit]
            self._woken.set()
        return True

    def send(self, frame: Struct) -> None:
        super().send(frame)
        self._woken.set()

    def close(self, code: int, reason: str, *, retry_after_ms: int | None = None) -> None:
        self.end(code, reason)

    def end(self, _code: int, _reason: str, *, retry_after_ms: int | None = None) -> None:
        """End without events: the next poll will be told why."""
        self._is_over = True
        self._woken.set()

    def on_tick(self) -> bool:
        """Have nothing to do with time: the wait has its own."""
        return True

    def on_lost(self) -> None:
        """End, for nobody."""
        self._is_over = True
        self._woken.set()
