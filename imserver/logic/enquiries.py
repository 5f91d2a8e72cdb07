"""Asks the nodes that hold a robot, before it is let in here: two things are known there alone.

How far it has come: acks are written to the store a second late, and a device that goes on here must not be
given again what it acked there. And who has the place of its device, for that may be another machine with the
same identity (`clones`).

Only nodes that `Attendance` names are asked; so a robot that is nowhere, as most that come, waits for one
question to Redis. A node that does not answer in time is taken for dead, and not asked for a while: then
things are as after its death, and a device may be offered again what it acked last.
"""

import asyncio
import itertools
from collections.abc import Callable, Collection
from typing import Final

from imserver.core.clock import Clock
from imserver.logic import notices
from imserver.logic.delivery import Spawn
from imserver.logic.notices import Answered, Asked, HeldPlace
from imserver.logic.session import Session, Sessions
from imserver.protocol.names import DeviceName, RobotName
from imserver.route.attendance import Attendance
from imserver.route.router import Router

PATIENCE_S: Final = 0.5
SILENCE_S: Final = 5.0
"""How long a node is not asked that gave no answer."""


class _Question:
    """What was asked, and who has not answered yet."""

    __slots__ = ("done", "held", "missing")

    def __init__(self, others: list[str]) -> None:
        self.missing = set(others)
        self.held: HeldPlace | None = None
        self.done = asyncio.Event()


class Enquiries:
    """The questions of one node, and its answers.

    Attributes:
        sees: tells whether notices come and go, as far as is known; without that nobody is asked.
        sign_of_life: tells whether a session's client is there, None while that is found out.
    """

    def __init__(
        self,
        attendance: Attendance,
        router: Router,
        sessions: Sessions,
        *,
        node: str,
        clock: Clock,
        spawn: Spawn,
    ) -> None:
        self._attendance = attendance
        self._router = router
        self._sessions = sessions
        self._node = node
        self._clock = clock
        self._spawn = spawn
        self._numbers = itertools.count(1)
        self._open: dict[int, _Question] = {}
        self._silent_until_s: dict[str, float] = {}
        self.sees: Callable[[], bool] = _no
        self.sign_of_life: Callable[[Session], bool | None] = _unknown

    async def held(self, robot: RobotName, device: DeviceName) -> HeldPlace | None:
        """Return who has the place of a device on another node, or None if nobody has or that cannot be
        found out; what ``robot`` has acked on other nodes is written then."""
        if not self.sees():
            return None
        others = [
            node for node in await self._attendance.holders(robot) if not self._is_silent(node)
        ]
        if not others:
            return None
        number, question = next(self._numbers), _Question(others)
        self._open[number] = question
        self._router.tell(notices.encode(Asked(self._node, number, others, robot, device)))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await question.done.wait()
        except TimeoutError:
            self._note_silence(question.missing)
        finally:
            del self._open[number]
        return question.held

    def on_asked(self, asked: Asked) -> None:
        """Take in a question; it is answered if this node is among those who are asked."""
        if self._node in asked.others:
            self._spawn(self._answer(asked), "enquiries.answer")

    def on_answered(self, answered: Answered) -> None:
        """Take in an answer."""
        self._silent_until_s.pop(answered.node, None)
        question = self._open.get(answered.number) if answered.asker == self._node else None
        if question is None:
            return
        question.held = question.held or answered.held
        question.missing.discard(answered.node)
        if not question.missing:
            question.done.set()

    async def _answer(self, asked: Asked) -> None:
        await self._sessions.settle(asked.robot)
        session = self._sessions.by_robot.get(asked.robot, {}).get(asked.device)
        held = None
        if session is not None:
            held = HeldPlace(session.start.instance, self.sign_of_life(session))
        self._router.tell(notices.encode(Answered(asked.node, asked.number, self._node, held)))

    def _is_silent(self, node: str) -> bool:
        return self._silent_until_s.get(node, 0.0) > self._clock.monotonic_s()

    def _note_silence(self, nodes: Collection[str]) -> None:
        # A node that is gone for good is never asked for again, so nothing else would forget it.
        now_s = self._clock.monotonic_s()
        silent = {node: end_s for node, end_s in self._silent_until_s.items() if end_s > now_s}
        self._silent_until_s = silent | dict.fromkeys(nodes, now_s + SILENCE_S)


def _no() -> bool:
    return False


def _unknown(_session: Session) -> bool | None:
    return None
