"""Time, handed to whoever needs it, so that tests and the simulator can turn it themselves."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two kinds of time: the calendar's and the stopwatch's."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970, never fewer than an earlier answer said."""

    def monotonic_s(self) -> float:
        """Return seconds on a stopwatch that never jumps."""


class SystemClock:
    """The machine's clocks; a wall clock that is set back stands still until it has caught up."""

    def __init__(self) -> None:
        self._last_ms = 0

    def now_ms(self) -> int:
        now = time.time_ns() // 1_000_000
        if now > self._last_ms:
            self._last_ms = now
        return self._last_ms

    def monotonic_s(self) -> float:
        return time.monotonic()
