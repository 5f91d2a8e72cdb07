"""Takes in what the route tier brings, and makes whole logs of it.

Hints come from this node's own commits and from other nodes', and those of others may be lost, doubled, or
overtake each other. `Delivery` wants each conversation's events once and in order. So what continues a log
goes through, what is known already is dropped, and where something is missing the store is read up to there.
With one node alone every run continues its log but one: a group that somebody read when its creation was
committed and not yet published is held with that event in it, and its members have yet to hear of the group.

A hint that is missed altogether is the business of `head_watch`.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from imserver.core.errors import STORE_TROUBLE, StoreCorrupt, StoreUnavailable
from imserver.core.model import Run
from imserver.data.store import EventLog
from imserver.logic.conversations import Conversation, Conversations
from imserver.logic.delivery import Delivery, Spawn
from imserver.logic.metrics import IntakeMetrics
from imserver.logic.signals import Signals
from imserver.protocol.events import GROUP_CREATED
from imserver.protocol.names import ConversationName

_log = logging.getLogger("imserver.intake")

PAGE_EVENTS: Final = 512
PAGE_BYTES: Final = 1024 * 1024


class Intake:
    """A `RouteListener` that feeds `Delivery` and `Signals`.

    Attributes:
        on_heard: told how far a log goes, as it is said to, whoever has appended to it.
        on_followed, on_connected, on_unheard, on_notice: what nodes with neighbours do then; else nothing.
    """

    def __init__(
        self,
        log: EventLog,
        conversations: Conversations,
        delivery: Delivery,
        signals: Signals,
        spawn: Spawn,
        metrics: IntakeMetrics,
    ) -> None:
        self._log = log
        self._conversations = conversations
        self._delivery = delivery
        self._spawn = spawn
        self._metrics = metrics
        # By the conversation as it is held: one that was dropped and is held anew has a goal of its own.
        self._goals: dict[Conversation, int] = {}
        self._ends: dict[Conversation, asyncio.Future[Exception | None]] = {}
        self.on_signal = signals.on_signal
        self.on_heard: Callable[[ConversationName, int], None] = _ignore
        self.on_followed: Callable[[ConversationName], None] = _ignore
        self.on_connected: Callable[[], None] = _ignore
        self.on_unheard: Callable[[], None] = _ignore
        self.on_notice: Callable[[bytes], None] = _ignore

    def on_committed(self, run: Run) -> None:
        """Take in events that are durable, wherever they were committed."""
        conversation = self._conversations.known(run.conv)
        first, last = run.events[0].seq, run.events[-1].seq
        self.on_heard(run.conv, last)
        if conversation is None or first == conversation.head + 1:
            self._delivery.on_committed(run)
        elif first > conversation.head + 1:
            self.on_head(run.conv, last)
        elif last > conversation.head:
            fresh = run.events[conversation.head + 1 - first :]
            self._delivery.on_committed(Run(run.conv, run.epoch, fresh))
        elif run.events[0].kind == GROUP_CREATED:
            self._spawn(self._bring_to_members(run.conv), "intake.created")

    def on_head(self, conv: ConversationName, seq: int) -> None:
        """Fetch what a log has up to ``seq``, unless it is known here."""
        self.on_heard(conv, seq)
        conversation = self._conversations.known(conv)
        if conversation is None or seq <= conversation.head:
            return
        goal = self._goals.get(conversation)
        self._goals[conversation] = max(seq, goal or 0)
        if goal is None:
            self._ends[conversation] = asyncio.get_running_loop().create_future()
            self._spawn(self._fetch(conversation), "intake.fetch")

    async def reach(self, conv: ConversationName, seq: int) -> None:
        """Return when a log is known here up to ``seq``, or as far as it is whole.

        Raises:
            StoreUnavailable: it cannot be read.
        """
        self.on_head(conv, seq)
        conversation = self._conversations.known(conv)
        end = None if conversation is None else self._ends.get(conversation)
        if end is not None:
            trouble = await asyncio.shield(end)
            if trouble is not None:
                raise StoreUnavailable(str(trouble)) from trouble

    async def _bring_to_members(self, conv: ConversationName) -> None:
        """Begin to deliver a group to those of its members that are here."""
        try:
            conversation = await self._conversations.load(conv)
        except STORE_TROUBLE as exc:
            _log.warning("intake.cannot_load", extra={"conv": conv, "reason": str(exc)})
            return
        if conversation is not None:
            self._delivery.on_found(conversation, conversation.members)

    async def _fetch(self, conversation: Conversation) -> None:
        """Read a log from its head here up to the goal, which may move on meanwhile."""
        trouble: Exception | None = None
        try:
            while conversation.head < self._goals[conversation]:
                if not await self._fetch_page(conversation):
                    return
        except STORE_TROUBLE as exc:
            facts = {"conv": conversation.name, "reason": str(exc)}
            _log.warning("intake.cannot_fetch", extra=facts)
            if isinstance(exc, StoreCorrupt):
                for reader in list(conversation.readers):
                    self._delivery.give_up(reader)
            else:
                trouble = exc
        finally:
            del self._goals[conversation]
            self._ends.pop(conversation).set_result(trouble)

    async def _fetch_page(self, conversation: Conversation) -> bool:
        """Read on; False if there is nothing more, or nobody here who holds the conversation."""
        events = await self._log.read_after(
            conversation.name, conversation.head, limit=PAGE_EVENTS, bytes_max=PAGE_BYTES
        )
        fresh = [event for event in events if event.seq > conversation.head]
        if self._conversations.known(conversation.name) is not conversation or not events:
            return False
        if fresh and fresh[0].seq > conversation.head + 1:
            await self._conversations.skip(conversation, fresh[0].seq - 1)
            # The changes of members in between are not there to be heard of.
            self._delivery.end_strangers(conversation)
            self._delivery.on_found(conversation, conversation.members)
        elif fresh:
            if not conversation.epoch:  # a direct line that was about to begin here began elsewhere
                await self._conversations.learn_log(conversation)
            self._metrics.fetched.inc(len(fresh))
            self._delivery.on_committed(Run(conversation.name, conversation.epoch, fresh))
        return True


def _ignore(*_: object) -> None:
    """Do nothing: there is no other node."""
