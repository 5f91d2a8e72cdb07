"""The port for texts that one node leaves and any node takes, once: for what a browser brings to whichever
node it comes to next.

Nothing durable hangs on it: a text may be lost, but none is taken twice.
"""

from typing import Final, Protocol

from imserver.core.clock import Clock

TEXTS_MAX: Final = 10_000
"""Texts that a node keeps itself; with more of them the oldest ends early."""


class OneTime(Protocol):
    """Texts under keys that nobody can guess."""

    async def leave(self, key: str, text: str, *, ttl_ms: int) -> None:
        """Leave a text under a new key, for so many milliseconds."""

    async def take(self, key: str) -> str | None:
        """Return the text under a key, which is nobody's any more then; None if there is none."""


class LocalOneTime:
    """A `OneTime` in the memory of one node."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._texts: dict[str, tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._texts)

    async def leave(self, key: str, text: str, *, ttl_ms: int) -> None:
        now_ms = self._clock.now_ms()
        self._forget(now_ms)
        self._texts[key] = text, now_ms + ttl_ms

    async def take(self, key: str) -> str | None:
        text, until_ms = self._texts.pop(key, ("", 0))
        return text if self._clock.now_ms() < until_ms else None

    def _forget(self, now_ms: int) -> None:
        """Let go of texts that are over; most last equally long, so that the oldest are first."""
        while self._texts:
            oldest = next(iter(self._texts))
            if len(self._texts) < TEXTS_MAX and now_ms < self._texts[oldest][1]:
                return
            del self._texts[oldest]
