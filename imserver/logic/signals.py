"""Signals: values of which only the latest counts, to the members who are online. Never stored.

``rev`` grows with every signal of this node and across its restarts, so that a receiver can drop an older
value that comes late.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from msgspec import Raw

from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.logic import permissions
from imserver.logic.conversations import Conversation, Conversations
from imserver.logic.last_values import LastValues
from imserver.logic.permissions import Operation
from imserver.logic.send import checked_name, role_of
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import SignalValue
from imserver.protocol.shared_frame import SharedFrame
from imserver.route.router import Router

SERVERS_OWN: Final = "@"
"""With what the keys of the server's own signals begin."""


class Signals:
    """Passes signals on: from a member to the route, and from the route to the local readers.

    Attributes:
        on_servers_own: told the signals of servers, this one's and others', after the readers.
    """

    def __init__(self, conversations: Conversations, router: Router, *, clock: Clock) -> None:
        self._conversations = conversations
        self._router = router
        self._clock = clock
        self._rev = 0
        self.on_servers_own: Callable[[SignalValue], None] = _ignore

    def signal(
        self, session: Session, conv: str, *, key: str, body: bytes
    ) -> Coroutine[Any, Any, None] | None:
        """Pass a member's signal on: at once and returning None if the conversation is held here, else by
        the returned coroutine.

        Raises:
            Refusal: not a member who may send, or a key that is the server's own.
        """
        if key.startswith(SERVERS_OWN):
            raise Refusal(
                ErrorCode.FORBIDDEN, "signal keys that begin with '@' are the server's own"
            )
        if session.scopes is not None:
            permissions.admit(session.scopes, Operation.SIGNAL, checked_name(conv))
        conversation = self._conversations.peek(conv)
        role = None if conversation is None else role_of(conversation, session)
        if conversation is None or role is None:  # a stranger waits for the store in any case
            return self._signal_slowly(session, conv, key, body)
        permissions.require(role, Operation.SIGNAL, conv)
        self.publish(conversation.name, sender=session.robot, key=key, body=body)
        return None

    async def _signal_slowly(self, session: Session, conv: str, key: str, body: bytes) -> None:
        name = checked_name(conv)
        conversation = await self._conversations.load(name, asker=session.asker)
        role = None if conversation is None else role_of(conversation, session)
        permissions.require(role, Operation.SIGNAL, conv)
        self.publish(name, sender=session.robot, key=key, body=body)

    @staticmethod
    def last(conversation: Conversation) -> list[SignalValue]:
        """Return the latest values of its members' signals, as far as they are known here, oldest first."""
        values = [] if conversation.signals is None else conversation.signals.values()
        return [value for value in values if value.sender in conversation.members]

    def publish(self, conv: ConversationName, *, sender: str, key: str, body: bytes) -> None:
        """Send a signal on its way to all readers of ``conv``, on every node."""
        self._rev = max(self._rev + 1, self._clock.now_ms() * 1_000)
        self._router.publish_signal(SignalValue(conv, sender, key, Raw(body), self._rev))

    async def handed_on(self) -> None:
        """Return when what was published is on its way to the other nodes, or is lost."""
        await self._router.handed_on()

    def on_signal(self, signal: SignalValue) -> None:
        """Hand a signal to the readers on this node, but not to the one it speaks of."""
        conversation = self._conversations.known(signal.conv)
        if conversation is None:
            return
        if not signal.key.startswith(SERVERS_OWN):
            if conversation.signals is None:
                conversation.signals = LastValues()
            conversation.signals.keep(signal)
        shared = SharedFrame(signal)
        key = (signal.conv, signal.sender, signal.key)
        for reader in conversation.readers:
            # Who was removed may have yet to take the event that does it; signals do not wait for that.
            if reader.until is None and reader.session.robot != signal.sender:
                reader.session.peer.signal(key, shared)
        if signal.key.startswith(SERVERS_OWN):
            self.on_servers_own(signal)


def _ignore(_signal: SignalValue) -> None:
    """Stand in until somebody wants to know."""
