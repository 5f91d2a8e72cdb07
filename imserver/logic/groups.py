"""Groups: who belongs to them and with which role. Every change is an event in the group's log.

A robot whose removal or demotion is on its way into the log may not send any more from that moment on, so
nothing of it can follow the event that removes it. Nor does one whose role is changing change anybody else's.
"""

from collections import Counter
from collections.abc import Sequence

from msgspec import structs

from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.core.ids import Ids
from imserver.core.model import (
    Added,
    Append,
    Created,
    Deleted,
    MembershipChange,
    Outcome,
    Outdated,
    Removed,
    Stored,
    Taken,
)
from imserver.data.store import Registry
from imserver.logic import membership, permissions
from imserver.logic.committer import WayIn
from imserver.logic.conversations import Conversation, Conversations
from imserver.logic.permissions import Operation
from imserver.logic.receipts import refusal_of
from imserver.logic.room import Belonging
from imserver.logic.send import checked_name, role_of
from imserver.logic.session import Session
from imserver.protocol import events, names
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import SERVER_CID_PREFIX, Role
from imserver.protocol.limits import Limits
from imserver.protocol.names import ConversationName, RobotName
from imserver.protocol.server_frames import Changed


class Groups:
    """The use cases that change groups: each raises `Refusal`, or returns when its event is durable."""

    def __init__(
        self,
        conversations: Conversations,
        way_in: WayIn,
        registry: Registry,
        *,
        clock: Clock,
        ids: Ids,
        limits: Limits,
    ) -> None:
        self._conversations = conversations
        self._way_in = way_in
        self._registry = registry
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._belonging = Belonging(registry, clock, most=limits.groups_max)

    async def create(
        self, session: Session, name: str, members: Sequence[str], *, is_open: bool
    ) -> Changed:
        """Create a group; its creator owns it, the others become members."""
        conv, owner = _group_named(name), session.robot
        permissions.admit(session.scopes, Operation.CREATE_GROUP, conv)
        robots = await self._registered(members)
        roles = dict.fromkeys(robots, Role.MEMBER) | {owner: Role.OWNER}
        if len(roles) > self._limits.members_max:
            raise self._too_many()
        await self._belonging.require_room(owner)
        change = Created(roles, is_open)
        seq = await self._create(self._event(conv, owner, events.GROUP_CREATED, change))
        return Changed(seq, conv)

    async def delete(self, session: Session, conv: str) -> Changed:
        """End a group: it has no members from here on, and its name stays taken."""
        group = await self._group(session, conv, Operation.DELETE_GROUP)
        return await self._change(session, group, events.GROUP_DELETED, Deleted())

    async def join(self, session: Session, conv: str) -> Changed:
        """Make the asking robot a member of an open group."""
        group = await self._admitted(session, conv, Operation.JOIN)
        if group is None or group.deleted or not (group.open or session.robot in group.members):
            raise permissions.not_found(conv)
        _require_no_member(group, session.robot)
        await self._belonging.require_room(session.robot)
        _require_no_member(group, session.robot)
        _require_settled(group, session.robot)
        self._check_room(group, 1 + len(group.changing))
        change = Added((session.robot,), Role.MEMBER)
        return await self._change(session, group, events.MEMBERS_ADDED, change)

    async def leave(self, session: Session, conv: str) -> Changed:
        """Make the asking robot a member no longer."""
        group = await self._admitted(session, conv, Operation.LEAVE)
        if group is None or session.robot not in group.members:
            raise permissions.not_found(conv)
        _keep_an_owner(group, {session.robot})
        change = Removed((session.robot,))
        return await self._change(session, group, events.MEMBERS_REMOVED, change)

    async def add(
        self, session: Session, conv: str, robots: Sequence[str], *, role: Role
    ) -> Changed:
        """Add robots that are not members yet; refused if none is new."""
        operation = Operation.TOUCH_OWNERS if role is Role.OWNER else Operation.ADD_MEMBERS
        group = await self._group(session, conv, operation)
        added = tuple(r for r in await self._registered(robots) if r not in group.members)
        permissions.require(role_of(group, session), operation, conv)
        if not added:
            raise Refusal(ErrorCode.EXISTS, f"all of these robots are members of {conv} already")
        for robot in added:
            _require_settled(group, robot)
        self._check_room(group, len(added) + len(group.changing))
        return await self._change(session, group, events.MEMBERS_ADDED, Added(added, role))

    async def remove(self, session: Session, conv: str, robots: Sequence[str]) -> Changed:
        """Remove members; refused if one of the robots is none."""
        group = await self._group(session, conv, Operation.REMOVE_MEMBERS)
        removed = tuple(dict.fromkeys(_robot(name) for name in robots))
        for robot in removed:
            self._require_over(session, group, robot)
        _keep_an_owner(group, set(removed))
        return await self._change(session, group, events.MEMBERS_REMOVED, Removed(removed))

    async def set_role(self, session: Session, conv: str, robot: str, *, role: Role) -> Changed:
        """Give a member another role."""
        group = await self._group(session, conv, Operation.SET_ROLE)
        name = _robot(robot)
        self._require_over(session, group, name)
        if role is Role.OWNER:
            permissions.require(role_of(group, session), Operation.TOUCH_OWNERS, conv)
        else:
            _keep_an_owner(group, {name})
        return await self._change(session, group, events.ROLE_CHANGED, Added((name,), role))

    async def enrol(self, robot: RobotName, convs: Sequence[str], *, token_id: str) -> None:
        """Put a robot into the groups its enrolment token names; one that does not exist yet is created,
        and belongs to the robot.

        A token does so once in each group, however often it is shown: its id is the event's cid, so that it
        brings nobody back who was removed since.
        """
        cid = SERVER_CID_PREFIX + token_id
        for conv in convs:
            group = await self._load_group(conv)
            if group is None:
                group = await self._create_unless_there(robot, conv, cid)
            while group is not None and not group.deleted and _is_outside(group, robot):
                change = Added((robot,), Role.MEMBER)
                added = self._event(group.name, robot, events.MEMBERS_ADDED, change, cid=cid)
                outcome = await self._commit(group, structs.replace(added, known=group.head))
                if not isinstance(outcome, Outdated):
                    break
                group = await self._load_group(conv)
                if group is not None and group.head < outcome.seq:
                    raise refusal_of(outcome, conv)  # the log is damaged before that event

    async def _create_unless_there(
        self, owner: RobotName, name: str, cid: str
    ) -> Conversation | None:
        conv = checked_name(name)
        try:
            change = Created({owner: Role.OWNER}, open=False)
            await self._create(self._event(conv, owner, events.GROUP_CREATED, change, cid=cid))
        except Refusal as refusal:
            if refusal.code is not ErrorCode.EXISTS:
                raise
            return await self._load_group(conv)  # another robot's enrolment was faster
        return None

    async def _group(self, session: Session, conv: str, operation: Operation) -> Conversation:
        group = await self._admitted(session, conv, operation)
        if group is None or group.deleted:
            raise permissions.not_found(conv)
        permissions.require(role_of(group, session), operation, conv)
        return group

    async def _admitted(
        self, session: Session, conv: str, operation: Operation
    ) -> Conversation | None:
        permissions.admit(session.scopes, operation, checked_name(conv))
        return await self._load_group(conv, asker=session.asker)

    async def _load_group(
        self, conv: str, *, asker: RobotName | None = None
    ) -> Conversation | None:
        name = checked_name(conv)
        if not names.is_group(name):
            raise Refusal(ErrorCode.BAD_FRAME, f"{conv} is a direct line; only groups have members")
        return await self._conversations.load(name, asker=asker)

    async def _registered(self, robots: Sequence[str]) -> list[RobotName]:
        if len(robots) > self._limits.members_max:
            raise self._too_many()
        wanted = list(dict.fromkeys(_robot(name) for name in robots))
        known = await self._registry.known_robots(wanted)
        for robot in wanted:
            if robot not in known:
                raise Refusal(
                    ErrorCode.NOT_FOUND,
                    f"robot {robot!r} is not registered here; enroll it before it becomes a member",
                )
        return wanted

    def _require_over(self, session: Session, group: Conversation, robot: RobotName) -> None:
        member = group.members.get(robot)
        if member is None:
            raise Refusal(ErrorCode.NOT_FOUND, f"{robot} is no member of {group.name}")
        if member.role is Role.OWNER:
            permissions.require(role_of(group, session), Operation.TOUCH_OWNERS, group.name)
        _require_settled(group, robot)

    def _check_room(self, group: Conversation, count: int) -> None:
        if len(group.members) + count > self._limits.members_max:
            raise self._too_many()

    def _too_many(self) -> Refusal:
        return Refusal(
            ErrorCode.TOO_LARGE, f"a group holds at most {self._limits.members_max} members"
        )

    async def _change(
        self, session: Session, group: Conversation, kind: str, change: MembershipChange
    ) -> Changed:
        if not session.admin:
            if session.robot in group.revoking:
                raise permissions.not_found(group.name)
            _require_settled(group, session.robot)
        losing, changing = Counter(_losing(group, change)), Counter(_changing(change))
        group.revoking += losing
        group.changing += changing
        try:
            asked = self._event(group.name, session.robot, kind, change)
            outcome = await self._commit(group, structs.replace(asked, known=group.head))
        finally:
            group.revoking -= losing
            group.changing -= changing
        if not isinstance(outcome, Stored):
            raise refusal_of(outcome, group.name)
        return Changed(outcome.event.seq)

    async def _create(self, creation: Append) -> int:
        outcome = await self._way_in.append(creation)
        if isinstance(outcome, Taken):
            name = creation.conv.removeprefix("g/")
            raise Refusal(
                ErrorCode.EXISTS,
                f"a group {name!r} exists, or existed: names of groups are not used twice",
            )
        assert isinstance(outcome, Stored), "a creation is stored or the name is taken"
        return outcome.event.seq

    async def _commit(self, group: Conversation, append: Append) -> Outcome:
        group.appending += 1
        try:
            return await self._way_in.append(append)
        finally:
            group.appending -= 1

    def _event(
        self,
        conv: ConversationName,
        sender: RobotName,
        kind: str,
        change: MembershipChange,
        *,
        cid: str | None = None,
    ) -> Append:
        return Append(
            conv=conv,
            ts=self._clock.now_ms(),
            sender=sender,
            cid=SERVER_CID_PREFIX + self._ids.token() if cid is None else cid,
            kind=kind,
            body=membership.body_of(change, role_change=kind == events.ROLE_CHANGED),
            change=change,
        )


def _losing(group: Conversation, change: MembershipChange) -> set[RobotName]:
    match change:
        case Removed(robots=robots):
            return set(robots)
        case Added(robots=robots, role=Role.OBSERVER):
            return set(robots)
        case Deleted():
            return set(group.members)
    return set()


def _changing(change: MembershipChange) -> set[RobotName]:
    return set(change.robots) if isinstance(change, Added) else set()


def _is_outside(group: Conversation, robot: RobotName) -> bool:
    """Tell whether a robot is no member, nor on its way to become one."""
    return robot not in group.members and robot not in group.changing


def _require_no_member(group: Conversation, robot: RobotName) -> None:
    if robot in group.members:
        raise Refusal(ErrorCode.EXISTS, f"{robot} is a member of {group.name} already")


def _require_settled(group: Conversation, robot: RobotName) -> None:
    if robot in group.revoking or robot in group.changing:
        raise Refusal(
            ErrorCode.CONFLICT,
            f"another change of {robot} is on its way into {group.name}: see what it brings first",
        )


def _is_owner(group: Conversation, robot: RobotName) -> bool:
    member = group.members.get(robot)
    return member is not None and member.role is Role.OWNER


def _keep_an_owner(group: Conversation, losing: set[RobotName]) -> None:
    owners = {robot for robot in group.members if _is_owner(group, robot)}
    if owners and owners <= losing | group.revoking.keys() | group.changing.keys():
        raise Refusal(
            ErrorCode.CONFLICT,
            f"{group.name} would be left without an owner: appoint another one with `set_role`, or "
            "delete the group",
        )


def _group_named(name: str) -> ConversationName:
    try:
        return names.group(name)
    except names.InvalidName as exc:
        raise Refusal(ErrorCode.BAD_FRAME, str(exc)) from exc


def _robot(name: str) -> RobotName:
    try:
        return names.robot_name(name)
    except names.InvalidName as exc:
        raise Refusal(ErrorCode.BAD_FRAME, str(exc)) from exc
