"""Changes of members as events: what stands in their bodies.

The body alone says what changed, so that any node, and any client, can follow the membership by reading
the log. What a change does to a conversation that is held in memory is `logic.membership`'s business.
"""

from typing import Any, Final

import msgspec

from imserver.core.model import Added, Created, Deleted, MembershipChange, Removed
from imserver.protocol import events
from imserver.protocol.events import Event, Role
from imserver.protocol.names import RobotName

ADDING_KINDS: Final = frozenset({events.GROUP_CREATED, events.MEMBERS_ADDED})

_encode = msgspec.msgpack.Encoder().encode


class _CreatedBody(msgspec.Struct):
    members: dict[str, Role]
    open: bool


class _AddedBody(msgspec.Struct):
    robots: list[str]
    role: Role


class _RemovedBody(msgspec.Struct):
    robots: list[str]


class _RoleBody(msgspec.Struct):
    robot: str
    role: Role


def body_of(change: MembershipChange, *, role_change: bool = False) -> bytes:
    """Return the body of the event that records ``change``, in MessagePack."""
    body: Any
    match change:
        case Created(members=members, open=is_open):
            body = _CreatedBody({str(robot): role for robot, role in members.items()}, is_open)
        case Added(robots=(robot,), role=role) if role_change:
            body = _RoleBody(robot, role)
        case Added(robots=robots, role=role):
            body = _AddedBody(list(robots), role)
        case Removed(robots=robots):
            body = _RemovedBody(list(robots))
        case Deleted():
            body = {}
    return _encode(body)


def members_added(event: Event) -> list[RobotName]:
    """Return whom an event makes a member, if anybody."""
    if event.kind not in ADDING_KINDS:
        return []
    match change_of(event):
        case Created(members=members):
            return list(members)
        case Added(robots=robots):
            return list(robots)
    return []


def change_of(event: Event) -> MembershipChange:
    """Return what an event of one of the server's kinds does to the membership."""
    decode = msgspec.msgpack.decode
    match event.kind:
        case events.GROUP_CREATED:
            created = decode(event.body, type=_CreatedBody)
            members = {RobotName(name): role for name, role in created.members.items()}
            return Created(members, created.open)
        case events.MEMBERS_ADDED:
            added = decode(event.body, type=_AddedBody)
            return Added(tuple(map(RobotName, added.robots)), added.role)
        case events.MEMBERS_REMOVED:
            removed = decode(event.body, type=_RemovedBody)
            return Removed(tuple(map(RobotName, removed.robots)))
        case events.ROLE_CHANGED:
            changed = decode(event.body, type=_RoleBody)
            return Added((RobotName(changed.robot),), changed.role)
        case events.GROUP_DELETED:
            return Deleted()
    raise ValueError(f"{event.kind} does not change the membership")
