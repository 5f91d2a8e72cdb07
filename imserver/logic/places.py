"""Places: how far a device is in its robot's conversations, asked and moved without a session.

A session learns its places from `welcome` and moves them by its acks; who has none does both here, under the
same cursors.
"""

from collections.abc import Mapping

from imserver.core.errors import Refusal
from imserver.data.store import Registry
from imserver.logic import permissions
from imserver.logic.committer import Committer
from imserver.logic.conversations import Conversations
from imserver.logic.identity import claimed
from imserver.logic.permissions import Operation
from imserver.logic.resumption import cursor_of
from imserver.logic.send import checked_name
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import ConversationName, RobotName
from imserver.protocol.server_frames import ConversationState


class Places:
    """Cursors of devices that have no session."""

    def __init__(
        self, registry: Registry, conversations: Conversations, committer: Committer
    ) -> None:
        self._registry = registry
        self._conversations = conversations
        self._committer = committer

    async def of(self, session: Session, device: str) -> list[ConversationState]:
        """Return every conversation of the session's robot, with its head and the device's cursor.

        Raises:
            Refusal: ``bad_frame`` for what can be no device's name.
        """
        robot, name = claimed(session.robot, device)
        await self._committer.settle_cursors(robot)
        return [
            ConversationState(found.conv, found.epoch, found.head, cursor_of(found))
            for found in await self._registry.memberships(robot, name)
            if session.scopes is None or session.scopes.reads(found.conv)
        ]

    async def ack(self, session: Session, acks: Mapping[str, int], *, device: str) -> None:
        """Note how far the device is in each of the conversations, or in none; durable a second later.

        Raises:
            Refusal: ``not_found`` for who is no member; ``conflict`` for a seq beyond the head.
        """
        robot, name = claimed(session.robot, device)
        for conv, seq in acks.items():
            permissions.admit(session.scopes, Operation.READ, conv)
            await self._check(robot, checked_name(conv), seq)
        for conv, seq in acks.items():
            self._committer.move_cursor(robot, name, ConversationName(conv), seq)

    async def _check(self, robot: RobotName, conv: ConversationName, seq: int) -> None:
        conversation = await self._conversations.load(conv, asker=robot)
        if conversation is None or robot not in conversation.members:
            raise permissions.not_found(conv)
        if seq > conversation.head:
            raise Refusal(
                ErrorCode.CONFLICT,
                f"ack {seq} of {conv} is beyond {conversation.head}, its last event",
            )
