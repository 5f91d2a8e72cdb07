"""Writes each connection's queued frames once per tick of the loop, and pushes once per beat.

A write is a system call of some microseconds whatever its size; all that is queued for a connection while the
loop runs through one batch of work goes out in a single one.

What a client waits for goes out in the next tick, and so does what is pushed to a connection that was
quiet. One that was pushed to in this beat gets what comes next when the next begins, all in one write. A
beat is the longer the more connections it has to write to, and the longer that took lately, so that their
writes take a small part of the time: in a busy group of a hundred, nearly all that a delivery costs is its
write. Where pushes are so far apart that such a beat would gather one or two, it would do little but delay
them, and it is as short as can be. For as long as many wait for the beat, the next commit had better wait
with them (`wait_for_beat`): what it brings could go out no earlier.
"""

import asyncio
from time import monotonic
from typing import Final, Protocol

BEAT_S_MIN: Final = 0.001
BEAT_S_EACH: Final = 0.000_04
"""Of a beat, for each connection that it writes to, at the least: eight times what a write takes on a quick
machine."""

WRITES_SHARE: Final = 1 / 8
"""How much of a beat its writes may take, on a machine that is not."""

MANY: Final = 32
_TIMER_S: Final = 0.000_5  # how finely timers tell the time
_NEWS: Final = 1 / 16  # the weight of a beat of many, or less, in what a write is known to take


class Flushable(Protocol):
    """Something with queued output.

    Attributes:
        pushed_in: the last beat in which what was pushed was written; kept by the flusher.
    """

    pushed_in: int

    def flush(self) -> None:
        """Write what is queued."""


class Flusher:
    """The connections with queued output."""

    def __init__(self, *, beat_s_max: float) -> None:
        self._beat_s_max = beat_s_max
        self._dirty: list[Flushable] = []
        self._pushed: list[Flushable] = []
        self._beat = 0
        self._began_s = 0.0
        self._is_beating = False
        self._gap_s = 0.0
        self._written = 0
        self._write_s = 0.0
        self._waiting: asyncio.Future[None] | None = None

    def add(self, flushable: Flushable) -> None:
        """Have ``flushable`` flushed in the next tick; call once per tick and connection."""
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty.append(flushable)

    def add_pushed(self, flushable: Flushable) -> bool:
        """Have ``flushable`` flushed in the next tick if it was not pushed to in this beat, else with the
        next beat; return whether in the next tick."""
        if not self._is_beating:
            self._gap_s = self._since_beat_s()
            self._begin_beat()
        if flushable.pushed_in == self._beat:
            if not self._pushed:
                self._gap_s = self._since_beat_s()
            self._pushed.append(flushable)
            return False
        flushable.pushed_in = self._beat
        self._written += 1
        self.add(flushable)
        return True

    def wait_for_beat(self) -> asyncio.Future[None] | None:
        """Return what is done when the next beat has begun, or None if few connections wait for it."""
        if len(self._pushed) < MANY:
            return None
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for flushable in dirty:
            flushable.flush()

    def _begin_beat(self) -> None:
        loop = asyncio.get_running_loop()
        self._beat += 1
        self._began_s = loop.time()
        self._is_beating = True
        pushed, self._pushed = self._pushed, []
        self._written = len(pushed)
        loop.call_later(self._length_s(), self._end_beat)
        write_began_s = monotonic()
        for flushable in pushed:
            flushable.pushed_in = self._beat
            flushable.flush()
        news_s = monotonic() - write_began_s - len(pushed) * self._write_s
        self._write_s += news_s * _NEWS / max(len(pushed), MANY)

    def _end_beat(self) -> None:
        loop = asyncio.get_running_loop()
        left_s = self._began_s + self._length_s() - loop.time()
        if left_s > _TIMER_S:  # more was written since than was known when it began
            loop.call_later(left_s, self._end_beat)
            return
        self._is_beating = False
        if self._pushed:
            self._begin_beat()
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            if not waiting.done():  # who waited may be gone
                waiting.set_result(None)

    def _since_beat_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_s

    def _length_s(self) -> float:
        """Return how long the beat is, if the next push comes as long after its begin as the last one did."""
        each_s = max(BEAT_S_EACH, self._write_s / WRITES_SHARE)
        length_s = max(each_s * self._written, BEAT_S_MIN)
        if 2 * self._gap_s > length_s:
            length_s = BEAT_S_MIN
        return min(length_s, self._beat_s_max)
