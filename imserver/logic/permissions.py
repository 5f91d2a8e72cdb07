"""Who may do what in a conversation: one table of operation and role. Whatever is not in it is refused.

Missing and forbidden look the same to somebody who may not know that a conversation exists: a robot that
is no member gets ``not_found`` for existing and for missing groups alike.
"""

import enum
from typing import Final

from imserver.core.errors import Refusal
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.names import clip


class Operation(enum.StrEnum):
    """What a member can want to do."""

    READ = "read"
    SEND = "send"
    SIGNAL = "signal"
    AMEND_OTHERS = "amend the messages of others"
    LIST_MEMBERS = "list the members"
    ADD_MEMBERS = "add members"
    REMOVE_MEMBERS = "remove members"
    SET_ROLE = "change roles"
    TOUCH_OWNERS = "appoint or change owners"
    DELETE_GROUP = "delete the group"


_ALL: Final = frozenset(Role)
_WRITERS: Final = frozenset({Role.OWNER, Role.ADMIN, Role.MEMBER})
_LEADERS: Final = frozenset({Role.OWNER, Role.ADMIN})
_OWNERS: Final = frozenset({Role.OWNER})

ALLOWED: Final[dict[Operation, frozenset[Role]]] = {
    Operation.READ: _ALL,
    Operation.SEND: _WRITERS,
    Operation.SIGNAL: _WRITERS,
    Operation.AMEND_OTHERS: _LEADERS,
    Operation.LIST_MEMBERS: _ALL,
    Operation.ADD_MEMBERS: _LEADERS,
    Operation.REMOVE_MEMBERS: _LEADERS,
    Operation.SET_ROLE: _LEADERS,
    Operation.TOUCH_OWNERS: _OWNERS,
    Operation.DELETE_GROUP: _OWNERS,
}


def require(role: Role | None, operation: Operation, conv: str) -> None:
    """Return if a robot with ``role`` (None: no member) may carry out ``operation`` in ``conv``.

    Raises:
        Refusal: ``not_found`` for who is no member, ``forbidden`` for who is one.
    """
    if role is None:
        raise not_found(conv)
    if role not in ALLOWED[operation]:
        allowed = ", ".join(sorted(ALLOWED[operation]))
        raise Refusal(
            ErrorCode.FORBIDDEN,
            f"your role in {conv} is {role.value}, and to {operation.value} takes one of: {allowed}",
        )


def not_found(conv: str) -> Refusal:
    """Return the one answer for conversations that are missing, ended, or not the asker's."""
    return Refusal(
        ErrorCode.NOT_FOUND,
        f"there is no conversation {clip(conv)!r} that you are a member of; create it, or have "
        "one of its admins add you",
    )
