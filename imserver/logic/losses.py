"""Robots as witnesses: one that resumes from beyond the head has seen events that the store has lost.

Nothing else can show that the last commits of a store are gone, when the files themselves look sound.
"""

import logging
from collections.abc import Iterable

from imserver.core.errors import StoreUnavailable
from imserver.core.model import Membership
from imserver.data.store import Cursors
from imserver.logic.metrics import LogicMetrics
from imserver.protocol.client_frames import Hello

_log = logging.getLogger("imserver.losses")


class LossWatch:
    """Raises the alarm when a client has seen what is not there."""

    def __init__(self, cursors: Cursors, metrics: LogicMetrics) -> None:
        self._cursors = cursors
        self._metrics = metrics

    async def note(self, hello: Hello, memberships: Iterable[Membership]) -> bool:
        """Compare what a client has with what is there; tell whether any time passed meanwhile."""
        lost = False
        for membership in memberships:
            position = hello.resume.get(membership.conv)
            if position is None or position.epoch != membership.epoch:
                continue
            if position.seq > membership.head:
                lost = True
                await self._note(hello, membership, position.seq)
        return lost

    async def _note(self, hello: Hello, membership: Membership, seen: int) -> None:
        try:
            halted = await self._cursors.note_loss(membership.conv, seen)
        except StoreUnavailable:
            halted = False  # a full disk must not keep the robot from reading
        self._metrics.losses.inc()
        facts = {
            "robot": hello.robot,
            "device": hello.device,
            "conv": membership.conv,
            "seen": seen,
            "head": membership.head,
            "halted": halted,
        }
        _log.error("data_loss.suspected", extra=facts)
