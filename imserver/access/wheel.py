"""One timer for the deadlines and pings of all connections: a hashed timing wheel with one-second ticks.

What is further ahead than one turn of the wheel waits in its last slot, and is put in again from there.

Source of the idea: Varghese and Lauck, "Hashed and hierarchical timing wheels", SOSP 1987.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

TICK_S: Final = 1.0
AT_ONCE: Final = 8
"""Deadlines that are acted upon in one go, if no tick has very many."""

REST_S: Final = 0.002
"""How long everybody else is served in between."""

_RESTS: Final = 250  # in a tick: half of it

_TICKS = 128


class Timed(Protocol):
    """Something that has a deadline."""

    def on_timer(self) -> float | None:
        """Act on the deadline; return the seconds to the next one, or None for no more."""


class Wheel:
    """Calls each of its members back when its time has come, within a tick."""

    def __init__(self) -> None:
        self._slots: list[list[Timed]] = [[] for _ in range(_TICKS)]
        self.tick = 0

    def add(self, timed: Timed, after_s: float) -> int:
        """Call ``timed`` back in ``after_s`` seconds; return the tick at which that will be."""
        due = self.due(after_s)
        self._put(timed, due)
        return due

    def due(self, after_s: float) -> int:
        """Return the tick that comes ``after_s`` seconds from now."""
        return self.tick + max(1, round(after_s / TICK_S))

    def _put(self, timed: Timed, due: int) -> None:
        last = self.tick + _TICKS - 1
        if due > last:
            timed = _FarAhead(partial(self._put, timed, due))
        self._slots[min(due, last) % _TICKS].append(timed)

    async def run(self) -> None:
        """Turn until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += TICK_S
            if due < loop.time():
                due = loop.time()  # the process was paused: deadlines start anew, not all at once
            await asyncio.sleep(due - loop.time())
            for _ in self._turn():
                await asyncio.sleep(REST_S)

    def _turn(self) -> Iterator[None]:
        """Act on what is due, and pause after so many, since thousands may be due in one tick."""
        self.tick += 1
        slot = self.tick % _TICKS
        members, self._slots[slot] = self._slots[slot], []
        at_once = max(AT_ONCE, len(members) // _RESTS)
        for number, timed in enumerate(members, 1):
            after_s = timed.on_timer()
            if after_s is not None:
                self.add(timed, after_s)
            if number % at_once == 0:
                yield


class _FarAhead:
    """Stands in the last slot for something that is due later, and puts it in again."""

    __slots__ = ("_put_again",)

    def __init__(self, put_again: Callable[[], None]) -> None:
        self._put_again = put_again

    def on_timer(self) -> float | None:
        self._put_again()
        return None
