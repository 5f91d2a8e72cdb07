"""Conversations that are given more than their rate, and who is refused then: those who give most of it.

The story. What is committed is counted once per commit and conversation. A conversation that is beyond its
rate is marked as crowded, and from then until it is within again each send to it is looked at: as long as its
sender has given less than a tenth of the rate, it is taken, else refused with the time to wait. So whoever
floods a group is slowed down there, and one that says little is heard, whatever the others do.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter

from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.core.model import Run
from imserver.core.rate_settings import RateSettings
from imserver.core.rates import Rate, Rates
from imserver.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from imserver.logic.conversations import Conversation

SENDERS_PART: Final = 10
"""A sender is heard in any crowd with this part of the conversation's rate."""


class Crowding:
    """The rates of a node's conversations, and of who sends to the crowded ones."""

    def __init__(self, settings: RateSettings, clock: Clock, registry: CollectorRegistry) -> None:
        rate = Rate(settings.conversation_events_per_s, settings.conversation_bytes_per_s)
        part = Rate(rate.units_per_s / SENDERS_PART, rate.bytes_per_s / SENDERS_PART)
        self._is_limited = rate.is_limited
        self._clock = clock
        self._refused = Counter(
            "imserver_events_refused_for_rate",
            "Sends refused because their conversation was given more than its rate",
            registry=registry,
        )
        self._conversations = Rates(rate, burst_s=settings.burst_s)
        self._senders = Rates(part, burst_s=settings.burst_s)

    def on_committed(self, conversation: Conversation, run: Run) -> None:
        """Count events that were committed."""
        if self._is_limited:
            events, now_s = run.events, self._clock.monotonic_s()
            size = sum([len(event.body) for event in events])
            key = conversation.name
            conversation.is_crowded = self._conversations.charge(key, len(events), size, now_s) > 0

    def admit(self, conversation: Conversation, sender: str, size: int) -> None:
        """Return if a sender may send to a conversation that was crowded when last something came of it.

        Raises:
            Refusal: ``rate_limited``.
        """
        now_s = self._clock.monotonic_s()
        wait_s = self._conversations.wait_s(conversation.name, now_s)
        if not wait_s:
            conversation.is_crowded = False
            return
        own_s = self._senders.takes(f"{conversation.name} {sender}", 1, size, now_s)
        if own_s:
            self._refused.inc()
            raise Refusal(
                ErrorCode.RATE_LIMITED,
                f"{conversation.name} is given more than this server takes for one conversation, and much of "
                f"it by {sender}: wait for `retry_after` milliseconds",
                retry_after_ms=ceil(min(wait_s, own_s) * 1_000),
            )
