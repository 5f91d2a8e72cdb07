"""Appends for other nodes that prefer this one to do it, and tells them the outcomes.

What one node asks for at a time goes to the store as one call: the store stores it in its order, and what
it cannot tell the outcome of is the end of it. The store itself gathers calls, so chunks of several nodes
and this node's own commit go into one batch. Who asks has judged its senders' rights, and the store checks
that they were judged by the last change of members, as for any other event.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from imserver.core.errors import StoreUnavailable
from imserver.core.model import Append, Outcome
from imserver.data.store import EventLog
from imserver.logic.committer import Committer
from imserver.logic.delivery import Spawn
from imserver.logic.fair_queue import weigh
from imserver.logic.handed_on import answer_of, appends_of
from imserver.logic.metrics import ForwardingMetrics

SERVED_BYTES_MAX: Final = 8 * 1024 * 1024
"""So much may be on its way for others; what is more they append themselves."""

_DECLINED: Final[tuple[Outcome, ...]] = ()


class AppendService:
    """Serves the questions of other nodes."""

    def __init__(
        self, log: EventLog, committer: Committer, *, metrics: ForwardingMetrics, spawn: Spawn
    ) -> None:
        self._log = log
        self._committer = committer
        self._metrics = metrics
        self._spawn = spawn
        self._bytes = 0
        self._is_draining = False
        self._is_idle = asyncio.Event()

    async def drain(self) -> None:
        """Decline from now on; return when nothing is on its way for others."""
        self._is_draining = True
        if self._bytes:
            await self._is_idle.wait()

    def on_asked(self, question: bytes, answer: Callable[[bytes], None]) -> None:
        """Append what another node asks for, and answer then; or decline at once."""
        try:
            appends = appends_of(question)
        except ValueError:  # of a newer version, perhaps
            appends = []
        if not appends or self._is_draining or self._bytes > SERVED_BYTES_MAX:
            answer(answer_of(_DECLINED))
            return
        self._bytes += sum(map(weigh, appends))
        self._spawn(self._append(appends, answer), "append_service")

    async def _append(self, appends: Sequence[Append], answer: Callable[[bytes], None]) -> None:
        try:
            outcomes = await self._log.append(appends)
        except StoreUnavailable:
            answer(answer_of(_DECLINED))
        else:
            answer(answer_of(outcomes))
            self._committer.announce(appends, outcomes)
            self._metrics.served.inc(len(appends))
        finally:
            self._bytes -= sum(map(weigh, appends))
        if self._is_draining and not self._bytes:
            self._is_idle.set()
