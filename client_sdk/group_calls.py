"""Groups, their members, and lists."""

import msgspec
from msgspec import Struct

from client_sdk.key_calls import KeyCalls
from client_sdk.outbox import Repeat
from imserver.protocol import client_frames as wire
from imserver.protocol import names
from imserver.protocol.events import Role
from imserver.protocol.server_frames import Changed, GroupRow, MemberRow, RobotRow


class GroupCalls(KeyCalls):
    """Requests about groups. All of it in `Robot`.

    Besides what `Calls` says, a change whose connection is lost on the way raises `OutcomeUnknown`:
    look at the group before doing it again.
    """

    async def create_group(
        self,
        name: str,
        members: list[str] | tuple[str, ...] = (),
        *,
        open: bool = False,  # noqa: A002  the word of the wire
    ) -> str:
        """Create a group, own it, and return its conversation, ``g/<name>``.

        Args:
            name: with or without ``g/``.
            members: further robots that belong to it from the start.
            open: any robot may join by itself.
        """
        group = names.group(name.removeprefix("g/")).removeprefix("g/")
        frame = wire.CreateGroup(self._id(), group, members=_robots(members), open=open)
        changed = await self._change(frame)
        return changed.conv or names.group(group)

    async def delete_group(self, conv: str) -> int:
        """End a group for all its members; return the seq of the event that records it."""
        frame = wire.DeleteGroup(self._id(), names.conversation(conv))
        return (await self._change(frame)).seq

    async def join(self, conv: str) -> int:
        """Become a member of an open group; return the seq of the event that records it."""
        return (await self._change(wire.Join(self._id(), names.conversation(conv)))).seq

    async def leave(self, conv: str) -> int:
        """Stop being a member; return the seq of the event that records it."""
        return (await self._change(wire.Leave(self._id(), names.conversation(conv)))).seq

    async def add_members(self, conv: str, robots: list[str], *, role: str = Role.MEMBER) -> int:
        """Add robots to a group with a role; return the seq of the event that records it."""
        frame = wire.AddMembers(
            self._id(), names.conversation(conv), _robots(robots), role=_role(role)
        )
        return (await self._change(frame)).seq

    async def remove_members(self, conv: str, robots: list[str]) -> int:
        """Remove robots from a group; return the seq of the event that records it."""
        frame = wire.RemoveMembers(self._id(), names.conversation(conv), _robots(robots))
        return (await self._change(frame)).seq

    async def set_role(self, conv: str, robot: str, role: str) -> int:
        """Make a member ``owner``, ``admin``, ``member`` or ``observer``; return the event's seq."""
        frame = wire.SetRole(
            self._id(), names.conversation(conv), names.robot_name(robot), _role(role)
        )
        return (await self._change(frame)).seq

    async def groups(self) -> list[GroupRow]:
        """Return the groups that this robot is a member of, by name."""
        rows: list[GroupRow] = []
        page_max = self._page_max
        while True:
            after = rows[-1].conv if rows else None
            page = await self._result(
                wire.ListGroups(self._id(), after=after, limit=page_max), list[GroupRow]
            )
            rows += page
            if len(page) < page_max:
                return rows

    async def members(self, conv: str) -> list[MemberRow]:
        """Return the members of a conversation, by name, with role, presence and furthest cursor."""
        conv = names.conversation(conv)
        rows: list[MemberRow] = []
        page_max = self._page_max
        while True:
            after = rows[-1].robot if rows else None
            page = await self._result(
                wire.ListMembers(self._id(), conv, after=after, limit=page_max), list[MemberRow]
            )
            rows += page
            if len(page) < page_max:
                return rows

    async def robots(self) -> list[RobotRow]:
        """Return the registered robots, by name."""
        rows: list[RobotRow] = []
        page_max = self._page_max
        while True:
            after = rows[-1].robot if rows else None
            page = await self._result(
                wire.ListRobots(self._id(), after=after, limit=page_max), list[RobotRow]
            )
            rows += page
            if len(page) < page_max:
                return rows

    @property
    def _page_max(self) -> int:
        return self._link.machine.limits.page_max

    async def _change(self, frame: Struct) -> Changed:
        return msgspec.convert((await self._ask(frame, Repeat.NEVER)).result, Changed)


def _robots(robots: list[str] | tuple[str, ...]) -> list[str]:
    return [names.robot_name(robot) for robot in robots]


def _role(role: str) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise ValueError(f"role {role!r} must be one of {', '.join(Role)}") from None
