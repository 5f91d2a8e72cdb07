"""Lists: groups, members, robots. Always by name, a page at a time."""

from typing import Final

from imserver.core.errors import Refusal
from imserver.core.model import GroupSummary
from imserver.core.scopes import Verb
from imserver.data.store import Cursors, Registry
from imserver.logic import permissions
from imserver.logic.conversations import Conversations
from imserver.logic.permissions import Operation
from imserver.logic.send import checked_name, role_of
from imserver.logic.session import Session, Sessions
from imserver.protocol import names
from imserver.protocol.errors import ErrorCode
from imserver.protocol.limits import Limits
from imserver.protocol.names import RobotName, clip
from imserver.protocol.server_frames import GroupRow, MemberRow, RobotRow
from imserver.route.attendance import Attendance

_SCANNED: Final = 500
"""Groups looked at in one go for a token that may see some of them."""


class Listings:
    """The use cases `list_groups`, `list_members` and `list_robots`."""

    def __init__(
        self,
        conversations: Conversations,
        registry: Registry,
        cursors: Cursors,
        *,
        sessions: Sessions,
        attendance: Attendance,
        limits: Limits,
    ) -> None:
        self._conversations = conversations
        self._registry = registry
        self._cursors = cursors
        self._sessions = sessions
        self._attendance = attendance
        self._limits = limits

    async def groups(self, session: Session, *, after: str | None, limit: int) -> list[GroupRow]:
        """Return the groups the session's robot is a member of, as far as its token lets it read them; an
        admin's session sees all."""
        self._check(limit)
        found = await self._groups(session, after or "", limit)
        return [GroupRow(group.conv, group.role, group.members, group.head) for group in found]

    async def _groups(self, session: Session, after: str, limit: int) -> list[GroupSummary]:
        member, scopes = None if session.admin else session.robot, session.scopes
        if scopes is None:
            return await self._registry.groups(member=member, after=after, limit=limit)
        found: list[GroupSummary] = []
        while len(found) < limit:
            page = await self._registry.groups(member=member, after=after, limit=_SCANNED)
            found += [group for group in page if scopes.reads(group.conv)]
            if len(page) < _SCANNED:
                break
            after = page[-1].conv
        return found[:limit]

    async def group(self, session: Session, conv: str) -> GroupRow:
        """Return one group.

        Raises:
            Refusal: the asking robot is no member.
        """
        name = checked_name(conv)
        permissions.admit(session.scopes, Operation.READ, name)
        group = await self._conversations.load(name, asker=session.asker)
        role = None if group is None else role_of(group, session)
        permissions.require(role, Operation.READ, conv)
        assert group is not None, "who has a role has a conversation"
        member = group.members.get(session.robot)
        return GroupRow(
            group.name, None if member is None else member.role, len(group.members), group.head
        )

    async def members(
        self, session: Session, conv: str, *, after: str | None, limit: int
    ) -> list[MemberRow]:
        """Return the members of a conversation, with the furthest cursor of each.

        Raises:
            Refusal: the asking robot is no member.
        """
        self._check(limit)
        name = checked_name(conv)
        permissions.admit(session.scopes, Operation.LIST_MEMBERS, name)
        conversation = await self._conversations.load(name, asker=session.asker)
        role = None if conversation is None else role_of(conversation, session)
        permissions.require(role, Operation.LIST_MEMBERS, conv)
        assert conversation is not None, "who has a role has a conversation"
        # As it stands now: who is removed while it is asked for more sees nothing of what follows.
        head, members = conversation.head, conversation.members
        page = {
            robot: members[robot]
            for robot in sorted(robot for robot in members if robot > (after or ""))[:limit]
        }
        acked = await self._cursors.acked(name)
        online = await self._online(list(page))
        return [
            MemberRow(
                robot=robot,
                role=member.role,
                online=robot in online,
                since=member.since,
                acked=min(acked.get(robot, 0), head),
            )
            for robot, member in page.items()
        ]

    async def robots(self, session: Session, *, after: str | None, limit: int) -> list[RobotRow]:
        """Return the registered robots.

        Raises:
            Refusal: ``forbidden``, the session's token is for single conversations.
        """
        _require_sight(session)
        self._check(limit)
        found = await self._registry.robots(after=after or "", limit=limit)
        online = await self._online([robot.name for robot in found])
        return [RobotRow(robot.name, robot.name in online, robot.registered_ms) for robot in found]

    async def robot(self, session: Session, name: str) -> RobotRow:
        """Return one robot.

        Raises:
            Refusal: it is not registered; ``forbidden`` as above.
        """
        _require_sight(session)
        found = await self._registry.robot(RobotName(name)) if names.is_name(name) else None
        if found is None:
            raise Refusal(
                ErrorCode.NOT_FOUND,
                f"robot {clip(name)!r} is not registered here; ask `list_robots` for those that are",
            )
        online = await self._online([found.name])
        return RobotRow(found.name, found.name in online, found.registered_ms)

    async def _online(self, robots: list[RobotName]) -> set[RobotName]:
        """Return those that have a session, on any node."""
        here = {robot for robot in robots if robot in self._sessions.by_robot}
        return here | await self._attendance.elsewhere([r for r in robots if r not in here])

    def _check(self, limit: int) -> None:
        if limit > self._limits.page_max:
            raise Refusal(
                ErrorCode.TOO_LARGE,
                f"limit {limit} is over {self._limits.page_max}, the most in one page",
            )


def _require_sight(session: Session) -> None:
    if session.scopes is not None and not session.scopes.everywhere(Verb.READ):
        raise Refusal(
            ErrorCode.FORBIDDEN,
            "the scopes of this token do not allow to look at robots: it takes read:*",
        )
