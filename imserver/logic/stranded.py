"""Lets robots go who would fare better elsewhere: where this node cannot reach the store, and others can.

A node whose way to the store is cut answers `unavailable` for as long as that takes, while its neighbours
serve. Its robots cannot know that; the nodes can. Each tries the store every second and tells the others how
often that has worked (`NodeRecord.answers`). If it does not work here, twice in a row, and meanwhile it has
worked elsewhere, twice as well, this node says goodbye to its robots and lets nobody in until the store
answers it again. Counts are compared and not clocks, and two answers elsewhere cannot both have come before
the store was lost for all.

Where no node reaches the store nobody is sent away: there is no better place, and all would come back at once
when it is there again. A node that hears nothing of its neighbours either cannot know what they can do. It is
more likely to be cut off than right in staying, so it lets its robots go.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from imserver.core.errors import StoreUnavailable
from imserver.core.tasks import heed_cancellation
from imserver.route.attendance import Attendance

_log = logging.getLogger("imserver.stranded")

LOOK_EVERY_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.5
_ANSWERS_ELSEWHERE: Final = 2


class Stranded:
    """Watches whether the store can be reached from here.

    Args:
        probe: tries the store; raises `StoreUnavailable` before long if it does not answer.
        attendance: by which nodes tell each other.
        sees: tells whether anything is heard of other nodes.
        on_answer: told each time that the store has answered.
        on_stranded: told when robots are to go elsewhere.
        on_rescued: told when they may come again.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        attendance: Attendance,
        *,
        sees: Callable[[], bool],
        on_answer: Callable[[], None],
        on_stranded: Callable[[], None],
        on_rescued: Callable[[], None],
    ) -> None:
        self._probe = probe
        self._attendance = attendance
        self._sees = sees
        self._on_answer = on_answer
        self._on_stranded = on_stranded
        self._on_rescued = on_rescued
        self._counts: dict[str, int] | None = None
        self._is_stranded = False

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            heed_cancellation()
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S if self._counts is None else LOOK_AGAIN_S)

    async def look(self) -> None:
        """Try the store once, and act on what that shows."""
        try:
            await self._probe()
        except StoreUnavailable as exc:
            counts = await self._answers_elsewhere()
            if self._counts is None:
                self._counts = counts
            elif not self._is_stranded and self._is_better_elsewhere(counts):
                _log.warning("node.stranded", extra={"reason": str(exc)})
                self._is_stranded = True
                self._on_stranded()
        else:
            self._on_answer()
            self._counts = None
            if self._is_stranded:
                _log.info("node.stranded_no_more")
                self._is_stranded = False
                self._on_rescued()

    async def _answers_elsewhere(self) -> dict[str, int]:
        own = self._attendance.about().node
        nodes = await self._attendance.nodes()
        return {node.node: node.answers for node in nodes if node.node != own}

    def _is_better_elsewhere(self, counts: dict[str, int]) -> bool:
        if not self._sees():
            return True
        before = self._counts or {}
        return any(
            answers >= before.get(node, answers) + _ANSWERS_ELSEWHERE
            for node, answers in counts.items()
        )
