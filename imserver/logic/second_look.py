"""The line of sends that are judged once more, since another node changed the members meanwhile.

A store that nodes share refuses an event whose sender's rights were judged without a change of members that
comes before it in the log. Nothing need be wrong with the event: it is judged again by what the store says
now, behind the others that wait for the same, so that a sender's events keep their order.
"""

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from imserver.logic.delivery import Spawn
from imserver.logic.session import Session
from imserver.protocol.client_frames import Send


class Look(NamedTuple):
    """A send that waits to be judged again."""

    session: Session
    frame: Send
    body: bytes


class SecondLook:
    """Judges sends again, one after the other.

    Args:
        judge: judges a send as it is now, and puts it on its way or answers it; raises nothing.
    """

    def __init__(self, judge: Callable[[Look], Awaitable[None]], *, spawn: Spawn) -> None:
        self._judge = judge
        self._spawn = spawn
        self._line: deque[Look] = deque()
        self._waiting: Counter[Session] = Counter()

    def holds(self, session: Session) -> bool:
        """Tell whether any send of ``session`` waits here: those that come now must not overtake it."""
        return session in self._waiting

    def take(self, look: Look) -> None:
        """Judge a send again, behind those that came before."""
        self._line.append(look)
        self._waiting[look.session] += 1
        if len(self._line) == 1:
            self._spawn(self._judge_all(), "second_look")

    async def _judge_all(self) -> None:
        while self._line:
            look = self._line[0]
            await self._judge(look)
            self._line.popleft()
            self._waiting[look.session] -= 1
            if not self._waiting[look.session]:
                del self._waiting[look.session]
