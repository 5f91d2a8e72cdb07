"""Presence: who is online, told to everyone who shares a group, as the signal ``@presence``.

Changes are gathered for a moment and told together, and of a robot that came and went meanwhile only the last
state is told. In conversations with very many readers presence is not pushed at all (n readers would cost n²
signals); `list_members` answers there.

When thousands come back at one moment, to tell each of all others would keep the node from letting them in.
So telling has a share of the node's time: a little is told, conversation by conversation, then the rest waits
in proportion. The longer the queue, the more changes each reader gets in one write.
"""

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec

from imserver.core.clock import Clock
from imserver.logic.conversations import Conversation, Conversations
from imserver.logic.session import Session
from imserver.logic.signals import Signals
from imserver.protocol.names import ConversationName, RobotName
from imserver.protocol.server_frames import PRESENCE_KEY, Presence

READER_WEIGHT: Final = 8
"""To write to a reader at all costs as much as this many signals to it."""

STEP_WEIGHT_MAX: Final = 4_000
"""What is told in one go; a weight of one is a few microseconds."""

WEIGHT_PER_S: Final = 40_000
"""What is told in a second, about a tenth of it."""

_encode = msgspec.msgpack.Encoder().encode


class PresenceTeller:
    """Gathers changes of presence and tells them."""

    def __init__(
        self,
        signals: Signals,
        conversations: Conversations,
        *,
        clock: Clock,
        flush_s: float,
        readers_max: int,
    ) -> None:
        self._signals = signals
        self._conversations = conversations
        self._clock = clock
        self._flush_s = flush_s
        self._readers_max = readers_max
        self._changed: dict[ConversationName, dict[RobotName, bytes]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._nothing_left = asyncio.Event()
        self._nothing_left.set()

    async def wait_told(self) -> None:
        """Return when what was noted has been told and is on its way to all nodes, as far as it can be."""
        await self._nothing_left.wait()
        await self._signals.handed_on()

    def came(self, session: Session, how: str) -> None:
        """A robot's session is open."""
        self._note(session, online=True, how=how)

    def went(self, session: Session, how: str) -> None:
        """A robot's last session is closed."""
        self._note(session, online=False, how=how)

    def moved(self, session: Session) -> None:
        """Nothing to tell: the robot is online, elsewhere."""

    def lost(self, robot: RobotName, convs: Iterable[ConversationName]) -> None:
        """A robot was online on a node that is gone."""
        self._note_change(
            robot, convs, Presence(online=False, how="lost", since=self._clock.now_ms())
        )

    def is_here(self, robot: RobotName, conv: ConversationName) -> None:
        """A robot was told to be offline, and has a session here."""
        self._note_change(
            robot, [conv], Presence(online=True, how="clean", since=self._clock.now_ms())
        )

    def _note(self, session: Session, *, online: bool, how: str) -> None:
        presence = Presence(online, how, self._clock.now_ms())
        self._note_change(session.robot, session.conversations(), presence)

    def _note_change(
        self, robot: RobotName, convs: Iterable[ConversationName], presence: Presence
    ) -> None:
        body = _encode(presence)
        for conv in convs:
            self._changed.setdefault(conv, {})[robot] = body
            self._nothing_left.clear()
        if self._timer is None and self._changed:
            self._timer = asyncio.get_running_loop().call_later(self._flush_s, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        weight = 0
        while self._changed and weight < STEP_WEIGHT_MAX:
            conv = next(iter(self._changed))
            changes = self._changed.pop(conv)
            weight += self._tell(conv, changes)
            if changes:
                self._changed[conv] = changes
        if not self._changed:
            self._nothing_left.set()
        rest_s = weight / WEIGHT_PER_S
        if self._changed or rest_s > self._flush_s:
            self._timer = asyncio.get_running_loop().call_later(rest_s, self._flush)

    def _tell(self, conv: ConversationName, changes: dict[RobotName, bytes]) -> int:
        """Tell some changes of a conversation, taking them out; return what it weighed."""
        conversation = self._conversations.peek(conv)
        readers = self._readers(conversation)
        if not 0 < readers <= self._readers_max:
            changes.clear()
            return 0
        count = max(1, STEP_WEIGHT_MAX // readers - READER_WEIGHT)
        robots = list(islice(changes, count))
        for robot in robots:
            body = changes.pop(robot)
            if conversation is None or robot in conversation.members:
                self._signals.publish(conv, sender=robot, key=PRESENCE_KEY, body=body)
        return readers * (READER_WEIGHT + len(robots))

    def _readers(self, conversation: Conversation | None) -> int:
        """Return for how many readers a change is; with neighbours, of whose readers nothing is known, for
        one at least."""
        readers = len(conversation.readers) if conversation is not None else 0
        return max(readers, 1) if self._conversations.is_shared else readers
