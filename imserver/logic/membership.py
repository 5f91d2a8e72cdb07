"""What changes of members do to a conversation that this node holds."""

from imserver.core.membership_changes import (
    ADDING_KINDS,
    body_of,
    change_of,
    members_added,
)
from imserver.core.model import Added, Created, Deleted, Member, MembershipChange, Removed
from imserver.logic.conversations import Conversation

__all__ = ["ADDING_KINDS", "apply", "body_of", "change_of", "members_added"]


def apply(conversation: Conversation, change: MembershipChange, seq: int) -> None:
    """Carry a committed change into what this node holds; ``seq`` is its event's."""
    conversation.membership_seq = max(conversation.membership_seq, seq)
    members = conversation.members
    match change:
        case Created(members=first, open=is_open):
            conversation.open = is_open
            conversation.members = {robot: Member(role, seq) for robot, role in first.items()}
            conversation.members_complete = True
        case Added(robots=robots, role=role):
            for robot in robots:
                known = members.get(robot)
                if known is not None:
                    members[robot] = Member(role, known.since)
                elif conversation.members_complete:
                    members[robot] = Member(role, seq)
        case Removed(robots=robots):
            for robot in robots:
                members.pop(robot, None)
        case Deleted():
            members.clear()
            conversation.deleted = True
