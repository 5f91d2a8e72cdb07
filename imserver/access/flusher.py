"""Writes each connection's queued frames once per tick of the loop.

A write is a system call of some microseconds whatever its size; all that is queued for a connection while the
loop runs through one batch of work goes out in a single one.
"""

import asyncio
from typing import Protocol


class Flushable(Protocol):
    """Something with queued output."""

    def flush(self) -> None:
        """Write what is queued."""


class Flusher:
    """The connections with queued output."""

    def __init__(self) -> None:
        self._dirty: list[Flushable] = []

    def add(self, flushable: Flushable) -> None:
        """Have ``flushable`` flushed in the next tick; call once per tick and connection."""
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty.append(flushable)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for flushable in dirty:
            flushable.flush()
