"""Finds out what became of events whose commit ended without an answer, and announces those that landed.

A store that nodes share may not learn in time whether it has stored an event (`Unresolved`). Its sender is
told to ask again. If it landed all the same, nobody has announced it: the node of a robot that it makes a
member may not hold that conversation, and so would never look. So whoever had it on its way asks for it by
its cid, soon and then ever later, and announces it as if it were committed now. Who knows it already passes
over it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from msgspec import structs

from imserver.core.errors import STORE_TROUBLE
from imserver.core.model import Append, Recall, Run, Stored, Unresolved
from imserver.core.tasks import heed_cancellation
from imserver.data.store import EventLog
from imserver.protocol.names import ConversationName

_log = logging.getLogger("imserver.doubts")

LOOK_EVERY_S: Final = 0.5
LOOKS: Final = (1, 2, 4, 8, 16, 32, 64)
"""At which of the looks that the store has answered an event is asked for: over half a minute in all. A write
that was on its way when its connection broke has come in by then, or never will."""

DOUBTS_MAX: Final = 10_000
_TOGETHER_MAX: Final = 500

_Key: TypeAlias = tuple[ConversationName, str, str]


class _Doubt(NamedTuple):
    question: Append
    looks: int


class Doubts:
    """The events of this node of which nobody knows whether they are stored.

    Attributes:
        announce: told of each that is, as `Committer.publish` is.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.announce: Callable[[Run], None] = _leave
        self._doubts: dict[_Key, _Doubt] = {}
        self._arisen = asyncio.Event()

    def __len__(self) -> int:
        return len(self._doubts)

    def note(self, append: Append) -> None:
        """Look for an event whose outcome did not become known."""
        if isinstance(append.change, Recall):
            return  # it asked, too, and stored nothing
        if len(self._doubts) >= DOUBTS_MAX:
            self._doubts.pop(next(iter(self._doubts)))
            _log.warning("doubts.given_up", extra={"conv": append.conv})
        question = structs.replace(append, change=Recall(), known=None)
        self._doubts[append.conv, append.sender, append.cid] = _Doubt(question, 0)
        self._arisen.set()

    async def run(self) -> None:
        """Look as long as there are any, until cancelled."""
        while True:
            heed_cancellation()
            await self._arisen.wait()
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
            except STORE_TROUBLE as exc:
                _log.warning("doubts.cannot_look", extra={"reason": str(exc)})
            if not self._doubts:
                self._arisen.clear()

    async def _look(self) -> None:
        due = []
        for key, doubt in self._doubts.items():
            self._doubts[key] = doubt._replace(looks=doubt.looks + 1)
            if doubt.looks + 1 in LOOKS:
                due.append(key)
        try:
            for start in range(0, len(due), _TOGETHER_MAX):
                await self._ask(due[start : start + _TOGETHER_MAX])
        except BaseException:
            self._begin_anew(due)
            raise

    async def _ask(self, keys: list[_Key]) -> None:
        asked = {key: self._doubts[key] for key in keys if key in self._doubts}
        outcomes = await self._log.append([doubt.question for doubt in asked.values()])
        for (key, doubt), outcome in zip(asked.items(), outcomes, strict=True):
            if isinstance(outcome, Stored):
                self._doubts.pop(key, None)
                self.announce(Run(key[0], outcome.epoch, [outcome.event]))
            elif isinstance(outcome, Unresolved):
                self._begin_anew([key])
            elif doubt.looks >= LOOKS[-1] and self._doubts.get(key) is doubt:
                del self._doubts[key]  # and not one that has arisen of the same event meanwhile

    def _begin_anew(self, keys: list[_Key]) -> None:
        """Count no look at these, since one without an answer is none."""
        for key in keys:
            doubt = self._doubts.get(key)
            if doubt is not None:
                self._doubts[key] = doubt._replace(looks=0)


def _leave(_run: Run) -> None:
    """Tell nobody."""
