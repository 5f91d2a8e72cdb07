"""Lets newcomers in at the pace at which they can be served, so that those who are inside hardly feel it.

The story. After an outage thousands of robots come back at one moment, and each costs the better part of a
millisecond. Were all begun at once, each would take as long as all of them: clients would give up half-way
and come again, and those inside would wait behind them. So a newcomer waits for its turn. A few are begun in
each turn of the loop, and none while those begun before wait for the store. When more wait than can be served
soon, the next ones are turned away and told when to come. Those times are given out one behind the other, at
the pace that was measured: who is turned away together does not come back together.

Whoever says nothing holds up nobody: what counts is work that is to be done, not connections that are open.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final

UPGRADES_A_TURN: Final = 8
"""Opening handshakes that are answered in one turn of the loop."""

OPENINGS_AT_ONCE: Final = 32
"""Proofs and openings of sessions that are under way at a time, and as many registrations beside them."""

OPENINGS_WAITING_MAX: Final = 16
"""With so many waiting for that, no handshake is answered."""

WAITING_ALWAYS: Final = 64
"""So many may wait, however long it takes."""

RETRY_MAX_S: Final = 120
_FIRST_GUESS_S: Final = 0.002
_LONGEST_S: Final = 0.05
_REMEMBERED: Final = 256


class Openings:
    """Lets a few at a time do what opens a session, in the order they came: ``async with openings: …``.

    Attributes:
        waiting: how many wait for that.
    """

    def __init__(self, on_leave: Callable[[], None]) -> None:
        self._places = asyncio.Semaphore(OPENINGS_AT_ONCE)
        self._on_leave = on_leave
        self.waiting = 0

    async def __aenter__(self) -> None:
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._places.release()
        self._on_leave()


class Admission:
    """The queue of newcomers.

    Attributes:
        openings: where they queue a second time, to prove who they are and open their session: for what
            reads the store.
        registrations: the same for what may write to it, which a hanging disk holds up.
    """

    def __init__(self, *, wait_max_s: float) -> None:
        self.openings: Final = Openings(self._turn_soon)
        self.registrations: Final = Openings(_nothing)
        self._wait_max_s = wait_max_s
        self._waiting: deque[Callable[[], None]] = deque()
        self._room = UPGRADES_A_TURN
        self._is_scheduled = False
        self._each_s = _FIRST_GUESS_S
        self._busy_since_s: float | None = None
        self._promised_s = 0.0

    def __len__(self) -> int:
        """Return how many wait for their turn."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether one more would wait too long."""
        waiting = len(self._waiting)
        return waiting >= WAITING_ALWAYS and waiting * self._each_s > self._wait_max_s

    def enter(self, on_turn: Callable[[], None]) -> None:
        """Have ``on_turn`` called when the newcomer's turn has come, which may be now."""
        if self._room and not self._waiting:
            self._room -= 1
            on_turn()
        else:
            self._waiting.append(on_turn)
        self._turn_soon()

    def promise_s(self) -> int:
        """Return after how many whole seconds somebody who is turned away now is to come."""
        now_s = asyncio.get_running_loop().time()
        soonest_s = now_s + len(self._waiting) * self._each_s
        self._promised_s = max(self._promised_s, soonest_s) + self._each_s
        self._promised_s = min(self._promised_s, now_s + RETRY_MAX_S)
        return max(1, int(self._promised_s - now_s))

    def call_all(self) -> None:
        """Give everybody who waits a turn now: the node stops, and they will be told."""
        while self._waiting:
            self._waiting.popleft()()

    def _turn_soon(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        # Else the next to leave the openings calls again.
        is_open = self.openings.waiting < OPENINGS_WAITING_MAX
        self._room = UPGRADES_A_TURN if is_open else 0
        served = min(self._room, len(self._waiting))
        self._room -= served
        try:
            for _ in range(served):
                self._waiting.popleft()()
        finally:
            if served:
                self._measure(served)
            if self._waiting and is_open:
                self._turn_soon()

    def _measure(self, served: int) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._busy_since_s is not None:
            each_s = min((now_s - self._busy_since_s) / served, _LONGEST_S)
            self._each_s += (each_s - self._each_s) * served / _REMEMBERED
        self._busy_since_s = now_s if self._waiting else None


def _nothing() -> None:
    """Do nothing: nobody waits for registrations to get on."""
