"""Presence: who is online, told to everyone who shares a group, as the signal ``@presence``.

Changes are gathered for a moment and told together, and of a robot that came and went meanwhile only the last
state is told: a storm of reconnects costs each reader one signal a robot. In conversations with very many
readers presence is not pushed at all (n readers would cost n² signals); `list_members` answers there.
"""

import asyncio

import msgspec

from imserver.core.clock import Clock
from imserver.logic.conversations import Conversations
from imserver.logic.session import Session
from imserver.logic.signals import Signals
from imserver.protocol.names import ConversationName, RobotName
from imserver.protocol.server_frames import PRESENCE_KEY, Presence

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
        self._changed: dict[RobotName, tuple[Presence, list[ConversationName]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def came(self, session: Session, how: str) -> None:
        """A robot's session is open."""
        self._note(session, online=True, how=how)

    def went(self, session: Session, how: str) -> None:
        """A robot's last session is closed."""
        self._note(session, online=False, how=how)

    def _note(self, session: Session, *, online: bool, how: str) -> None:
        presence = Presence(online, how, self._clock.now_ms())
        self._changed[session.robot] = (presence, session.conversations())
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._flush_s, self._flush)

    def _flush(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, {}
        for robot, (presence, convs) in changed.items():
            body = _encode(presence)
            for conv in convs:
                conversation = self._conversations.peek(conv)
                if conversation is None or robot not in conversation.members:
                    continue
                if len(conversation.readers) <= self._readers_max:
                    self._signals.publish(conv, sender=robot, key=PRESENCE_KEY, body=body)
