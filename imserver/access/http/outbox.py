"""What waits to be written to one stream's client, bounded by whoever writes.

Nothing here knows what the bytes say. The high-water mark covers what waits and what is on its way: a full
transport holds the next write back, and that is how a slow client is felt.
"""

import asyncio
from collections.abc import Awaitable, Callable


class Outbox:
    """The bytes between a stream and its transport.

    Attributes:
        is_over: nothing is taken in any more.
    """

    def __init__(self, high_water_bytes: int) -> None:
        self._high_water_bytes = high_water_bytes
        self._parts: list[bytes] = []
        self._bytes = 0
        self._on_its_way = 0
        self._is_lost = False
        self._woken = asyncio.Event()
        self.is_over = False

    @property
    def congested(self) -> bool:
        """Whether more waits than the high-water mark allows."""
        return self._bytes + self._on_its_way > self._high_water_bytes

    @property
    def blocked(self) -> bool:
        """Whether the transport holds a write back."""
        return self._on_its_way > 0

    def write(self, data: bytes) -> None:
        """Queue bytes, unless it is over."""
        if not self.is_over:
            self._parts.append(data)
            self._bytes += len(data)
            self._woken.set()

    def finish(self, last: bytes) -> None:
        """Queue the last bytes: after them, nothing is taken in."""
        self.write(last)
        self.is_over = True
        self._woken.set()

    def abandon(self) -> None:
        """Give up what waits: the client is gone."""
        self._is_lost = self.is_over = True
        self._woken.set()

    async def pump(
        self, write: Callable[[bytes], Awaitable[None]], *, on_room: Callable[[], None]
    ) -> None:
        """Write what is queued until it is over.

        ``write`` returns when the transport takes more, and ``on_room`` is called after each time.
        """
        while not self._is_lost:
            await self._woken.wait()
            self._woken.clear()
            parts, self._parts = self._parts, []
            if parts and not self._is_lost:
                self._on_its_way, self._bytes = self._bytes, 0
                await write(parts[0] if len(parts) == 1 else b"".join(parts))
                self._on_its_way = 0
                on_room()
            if self.is_over and not self._parts:
                return
