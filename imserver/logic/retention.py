"""Retention: lets the oldest events of groups go, as the settings say, a few at a time.

Each sweep asks the store, group by group, from which seq on the log is kept, and trims it up to there in
steps so small that a commit never waits long for one; between two steps the writer is left to others for a
multiple of the time the step took. A group's head stays always, and direct lines and groups that have ended
are left alone. Readers that are behind the floor learn from `delivery` what they missed.
"""

import asyncio
import logging
from typing import Final

from msgspec import structs

from imserver.core.clock import Clock
from imserver.core.errors import StoreCorrupt, StoreUnavailable
from imserver.core.model import GroupSummary, Keep
from imserver.core.settings import GroupRetention, RetentionSettings
from imserver.data.store import EventLog, Registry
from imserver.logic.conversations import Conversations
from imserver.logic.metrics import LogicMetrics
from imserver.protocol.names import ConversationName

_log = logging.getLogger("imserver.retention")

STEP_EVENTS: Final = 256
_REST: Final = 4
_GROUPS_A_PAGE: Final = 500
_MEASURED_AGAIN: Final = 20
_CLOCK_JUMP_S: Final = 3_600


class Retention:
    """Trims the logs of groups to what the settings keep."""

    def __init__(
        self,
        log: EventLog,
        registry: Registry,
        conversations: Conversations,
        *,
        settings: RetentionSettings,
        clock: Clock,
        metrics: LogicMetrics,
    ) -> None:
        self._log = log
        self._registry = registry
        self._conversations = conversations
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._clock_offset_s = self._offset_s()
        self._measure_at: dict[ConversationName, int] = {}

    async def run(self) -> None:
        """Sweep now and then, for ever.

        Raises:
            StoreFailed: a commit's outcome is unknown; the node must stop.
        """
        while True:
            await asyncio.sleep(self._settings.interval_s)
            try:
                await self.sweep()
            except StoreUnavailable as exc:
                _log.warning("retention.put_off", extra={"reason": str(exc)})

    async def sweep(self) -> None:
        """Trim every group once.

        Raises:
            StoreUnavailable, StoreFailed: as for `EventLog.trim`.
        """
        if not self._settings.lets_go:
            return
        after = ""
        while True:
            page = await self._registry.groups(member=None, after=after, limit=_GROUPS_A_PAGE)
            for group in page:
                try:
                    await self._trim(group)
                except StoreCorrupt as exc:
                    facts = {"conv": group.conv, "reason": str(exc)}
                    _log.error("retention.failed", extra=facts)
            if len(page) < _GROUPS_A_PAGE:
                return
            after = page[-1].conv

    async def _trim(self, group: GroupSummary) -> None:
        keep = self._keep(group)
        if keep == Keep():
            return
        first = await self._log.first_kept(group.conv, keep)
        floor = await self._log.trim(group.conv, first, limit=0)
        while floor < first:
            began_s = self._clock.monotonic_s()
            before, floor = floor, await self._log.trim(group.conv, first, limit=STEP_EVENTS)
            self._note(group.conv, floor, floor - before)
            if floor == before:
                break
            await asyncio.sleep(_REST * (self._clock.monotonic_s() - began_s))
        if keep.body_bytes is not None:
            # Summing up the sizes takes time with the length of the log: wait until it has grown by a part.
            kept = group.head - first + 1
            self._measure_at[group.conv] = group.head + max(kept // _MEASURED_AGAIN, 1)

    def _keep(self, group: GroupSummary) -> Keep:
        rule = self._settings.rule(group.conv)
        keep = Keep(
            since_ms=self._since_ms(rule),
            events=rule.events or None,
            body_bytes=rule.body_bytes or None,
        )
        if group.head < self._measure_at.get(group.conv, 0):
            keep = structs.replace(keep, body_bytes=None)
        return keep

    def _since_ms(self, rule: GroupRetention) -> int | None:
        if not rule.age_s:
            return None
        jump_s = self._offset_s() - self._clock_offset_s
        if abs(jump_s) > _CLOCK_JUMP_S:
            # Whoever set the clock to 2038 by mistake wants to keep the events all the same.
            _log.error("retention.clock_jumped", extra={"seconds": round(jump_s)})
            return None
        return self._clock.now_ms() - int(rule.age_s * 1_000)

    def _note(self, conv: ConversationName, floor: int, count: int) -> None:
        self._metrics.trimmed.inc(count)
        held = self._conversations.peek(conv)
        if held is not None:
            held.floor = max(held.floor, floor)

    def _offset_s(self) -> float:
        return self._clock.now_ms() / 1_000 - self._clock.monotonic_s()
