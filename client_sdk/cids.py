"""Cids: names for events that sort by time, so that those of one robot lie together in the server's index."""

from client_sdk.clock import WallClock

_PER_MS = 1 << 16


class Cids:
    """Makes cids, each one later in byte order than the one before, whatever the clock does.

    ``<11 hex digits of milliseconds><4 of a counter><instance>``; ``instance`` is a random text that sets
    this process apart from all others of the same robot.
    """

    def __init__(self, clock_ms: WallClock, instance: str) -> None:
        self._clock_ms = clock_ms
        self._instance = instance
        self._last = 0

    def next(self) -> str:
        """Return a cid that was never returned before."""
        self._last = max(self._last + 1, int(self._clock_ms()) * _PER_MS)
        return f"{self._last:015x}{self._instance}"
