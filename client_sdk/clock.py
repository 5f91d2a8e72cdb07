"""The machine's calendar clock, handed to whoever needs it so that tests can turn it."""

import time
from collections.abc import Callable
from typing import TypeAlias

WallClock: TypeAlias = Callable[[], float]
"""Returns milliseconds since 1970."""


def wall_clock_ms() -> float:
    """Return milliseconds since 1970."""
    return time.time_ns() / 1_000_000  # noqa: TID251  the SDK's only reader of the calendar
