"""Where a device goes on in each of its conversations when it comes online: decided, not done."""

from imserver.core.model import Membership
from imserver.core.warrant import Warrant
from imserver.logic.conversations import Conversation
from imserver.protocol.client_frames import Position
from imserver.protocol.server_frames import AHEAD, RESTORED, ConversationState, Gap


def visible(
    adopted: list[tuple[Membership, Conversation]], warrant: Warrant
) -> list[tuple[Membership, Conversation]]:
    """Return those of a robot's conversations that its token lets it read."""
    scopes = warrant.scopes.narrow
    if scopes is None:
        return adopted
    return [(m, conversation) for m, conversation in adopted if scopes.reads(m.conv)]


def state_of(membership: Membership, conversation: Conversation) -> ConversationState:
    """Return what ``welcome`` says of a conversation."""
    head = max(conversation.head, membership.head)
    return ConversationState(conversation.name, conversation.epoch, head, cursor_of(membership))


def beginning(
    membership: Membership, conversation: Conversation, position: Position | None
) -> tuple[int, Gap | None]:
    """Return behind which seq a device begins, and the gap it is told first, if any.

    ``position`` is what the device says it has; the store may have more than this node has heard of.
    """
    if position is None:
        return cursor_of(membership), None
    epoch, head = conversation.epoch, max(conversation.head, membership.head)
    if position.epoch == epoch and position.seq <= head:
        return position.seq, None
    why = RESTORED if position.epoch != epoch else AHEAD
    # What another device has acked may lie in the part of the log that is new to this one.
    start = min(_own_cursor(membership), head, position.seq)
    if position.seq <= start:
        return start, None
    return start, Gap(conversation.name, epoch, from_=start + 1, to=position.seq, why=why)


def cursor_of(membership: Membership) -> int:
    """Return where a device begins: behind what it last acked, or its robot, or before the robot joined."""
    if membership.device_acked is not None:
        return membership.device_acked
    if membership.robot_acked is not None:
        return membership.robot_acked
    return max(membership.since - 1, 0)


def _own_cursor(membership: Membership) -> int:
    """Return what a device surely has of the log as it is now."""
    if membership.device_acked is not None:
        return membership.device_acked
    return min(cursor_of(membership), max(membership.since - 1, 0))
