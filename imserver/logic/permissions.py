"""Who may do what in a conversation: one table of operation, role and scope. What is not in it is refused.

There are two questions, in this order. `admit`: do the scopes of the client's token reach so far? It is
answered by the token alone, before anything is looked up, so that a token learns nothing of what it does not
name, not even by the time an answer takes. `require`: does the robot's role allow it?

Missing and forbidden look the same to somebody who may not know that a conversation exists: a robot that is
no member gets ``not_found`` for existing and for missing groups alike, and so does a token without a scope.
"""

import enum
from typing import Final

from imserver.core.errors import Refusal
from imserver.core.scopes import Scopes, Verb
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
    LEAVE = "leave the group"
    JOIN = "join the group"
    CREATE_GROUP = "create the group"


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
    Operation.LEAVE: _ALL,
    Operation.JOIN: frozenset(),
    Operation.CREATE_GROUP: frozenset(),
}
"""The roles that an operation takes; none for those `BY_ANYBODY`."""

BY_ANYBODY: Final[dict[Operation, str]] = {
    Operation.JOIN: "who is no member, if the group is open",
    Operation.CREATE_GROUP: "every robot",
}
"""Operations by which one comes by a role, and whose they are."""

SCOPE: Final[dict[Operation, Verb]] = {
    Operation.READ: Verb.READ,
    Operation.SEND: Verb.SEND,
    Operation.SIGNAL: Verb.SEND,
    Operation.AMEND_OTHERS: Verb.SEND,
    Operation.LIST_MEMBERS: Verb.READ,
    Operation.ADD_MEMBERS: Verb.MANAGE,
    Operation.REMOVE_MEMBERS: Verb.MANAGE,
    Operation.SET_ROLE: Verb.MANAGE,
    Operation.TOUCH_OWNERS: Verb.MANAGE,
    Operation.DELETE_GROUP: Verb.MANAGE,
    Operation.LEAVE: Verb.MANAGE,
    Operation.JOIN: Verb.MANAGE,
    Operation.CREATE_GROUP: Verb.MANAGE,
}
"""The scope that an operation takes, of a token that has not all of its robot's rights."""


def admit(scopes: Scopes | None, operation: Operation, conv: str) -> None:
    """Return if a token with ``scopes`` (None: with all of its robot's rights) reaches as far as this.

    Raises:
        Refusal: ``not_found`` where no scope is about ``conv``, else ``forbidden``; whether there is such a
            conversation makes no difference.
    """
    if scopes is None:
        return
    verbs, verb = scopes.verbs(conv), SCOPE[operation]
    if not verbs:
        raise not_found(conv)
    if verb not in verbs:
        raise Refusal(
            ErrorCode.FORBIDDEN,
            f"the scopes of this token do not allow to {operation.value}: it takes {verb.value}:{clip(conv)}",
        )


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


def require_admin(*, is_admin: bool) -> None:
    """Return if it is an admin of the deployment who asks.

    Raises:
        Refusal: ``forbidden``, it is not.
    """
    if not is_admin:
        raise Refusal(
            ErrorCode.FORBIDDEN,
            "only an admin does this; `imserver token --admin` makes a token that is one's",
        )


def not_found(conv: str) -> Refusal:
    """Return the one answer for conversations that are missing, ended, or not the asker's."""
    return Refusal(
        ErrorCode.NOT_FOUND,
        f"there is no conversation {clip(conv)!r} that you are a member of; create it, or have "
        "one of its admins add you",
    )
