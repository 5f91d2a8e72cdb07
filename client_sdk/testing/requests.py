"""What the server in memory does with each request: the same answers as the real one gives."""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from client_sdk.clock import wall_clock_ms
from client_sdk.errors import Refused
from client_sdk.testing.conversations import LEADERS, WRITERS, MemoryConversation, not_found
from client_sdk.testing.node import Node
from client_sdk.testing.session import MemorySession
from imserver.protocol import client_frames as ask
from imserver.protocol import events, names
from imserver.protocol import server_frames as wire
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Event, Role


class Requests:
    """The use cases, on the logs of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def handle(self, session: MemorySession, frame: ask.ClientFrame) -> Struct | None:
        """Carry out a request of a robot that is online, and return the answer, if it has one.

        Raises:
            Refused: it is refused.
        """
        robot = session.robot
        if robot is None:
            raise Refused(ErrorCode.UNAUTHENTICATED, "say `hello` first")
        match frame:
            case ask.Send():
                return self._send(robot, frame)
            case ask.Signal():
                self._signal(robot, frame)
                return None
            case ask.Follow() | ask.Unfollow():
                self._follow(session, frame)
                return wire.Ok(frame.id)
            case ask.History():
                return wire.Ok(frame.id, events=self._history(robot, frame))
            case ask.CreateGroup():
                return wire.Ok(frame.id, result=self._create(robot, frame))
            case ask.Ping():
                return wire.Pong(frame.id, int(wall_clock_ms()))
            case ask.RotateKey():
                self._node.keys[robot] = frame.public_key  # its signatures are taken on trust here
                return wire.Ok(frame.id)
            case ask.WhoAmI():
                identity = wire.Identity(robot, session.device, "memory", "memory")
                return wire.Ok(frame.id, result=identity)
            case ask.HttpToken():
                raise Refused(ErrorCode.UNSUPPORTED, "the server in memory has no files")
            case ask.ListGroups() | ask.ListMembers() | ask.ListRobots():
                return wire.Ok(frame.id, result=self._list(robot, frame))
        return self._change(robot, frame)

    def _send(self, robot: str, frame: ask.Send) -> wire.Sent:
        if frame.kind in events.SERVER_KINDS:
            raise Refused(ErrorCode.FORBIDDEN, f"{frame.kind} is written by the server alone")
        conversation = self._node.conversations.get(frame.conv)
        conversation.require(robot, WRITERS)
        event = Event(
            0, int(wall_clock_ms()), robot, frame.cid, frame.kind, Raw(bytes(frame.body)), frame.ref
        )
        stored, dup = conversation.append(event)
        self._node.spread(conversation)
        return wire.Sent(
            frame.id, conversation.name, conversation.epoch, stored.seq, stored.ts, dup=dup
        )

    def _signal(self, robot: str, frame: ask.Signal) -> None:
        conversation = self._node.conversations.get(frame.conv)
        conversation.require(robot, WRITERS)
        self._node.tell_signal(conversation, robot, frame.key, Raw(bytes(frame.body)))

    def _follow(self, session: MemorySession, frame: ask.Follow | ask.Unfollow) -> None:
        conversation = self._node.conversations.get(frame.conv)
        conversation.require(session.robot or "")
        session.unfollow(frame.conv)
        if isinstance(frame, ask.Follow):
            after = conversation.head if frame.after == "latest" else frame.after
            session.follow(conversation, min(after, conversation.head))

    def _history(self, robot: str, frame: ask.History) -> list[Event]:
        conversation = self._node.conversations.get(frame.conv)
        conversation.require(robot)
        limit = min(frame.limit, self._node.limits.page_max)
        if frame.before is not None:
            page = conversation.before(frame.before, limit)
        else:
            page = conversation.after(frame.after or 0, limit)
        if frame.view == "messages":
            return [
                conversation.shown(event)
                for event in page
                if event.kind not in events.AMENDING_KINDS
            ]
        return page

    def _create(self, robot: str, frame: ask.CreateGroup) -> wire.Changed:
        name = names.group(frame.name)
        self._require_known(frame.members)
        conversation = self._node.conversations.create(name, robot, frame.members, open=frame.open)
        body = {"members": conversation.members, "open": frame.open}
        return self._record(conversation, events.GROUP_CREATED, robot, body)

    def _change(self, robot: str, frame: Any) -> wire.Ok:
        conversation = self._node.conversations.get(frame.conv)
        if not names.is_group(conversation.name):
            raise Refused(ErrorCode.UNSUPPORTED, "a direct line's members are fixed")
        kind, body = self._change_asked(robot, conversation, frame)
        return wire.Ok(frame.id, result=self._record(conversation, kind, robot, body))

    def _change_asked(
        self, robot: str, conversation: MemoryConversation, frame: Any
    ) -> tuple[str, Any]:
        match frame:
            case ask.Join():
                if not conversation.open:
                    raise not_found(conversation.name)
                return events.MEMBERS_ADDED, {"robots": [robot], "role": Role.MEMBER}
            case ask.Leave():
                conversation.require(robot)
                return events.MEMBERS_REMOVED, {"robots": [robot]}
        conversation.require(robot, LEADERS)
        match frame:
            case ask.AddMembers():
                self._require_known(frame.robots)
                return events.MEMBERS_ADDED, {"robots": frame.robots, "role": frame.role}
            case ask.RemoveMembers():
                return events.MEMBERS_REMOVED, {"robots": frame.robots}
            case ask.SetRole():
                conversation.require(frame.robot)
                return events.ROLE_CHANGED, {"robot": frame.robot, "role": frame.role}
            case ask.DeleteGroup():
                conversation.require(robot, frozenset({Role.OWNER}))
                return events.GROUP_DELETED, {}
        raise Refused(ErrorCode.UNSUPPORTED, f"{type(frame).__name__} is not known in memory")

    def _record(
        self, conversation: MemoryConversation, kind: str, robot: str, body: Any
    ) -> wire.Changed:
        leaving = set(conversation.members)
        event = conversation.change(kind, robot, body)
        event = msgspec.structs.replace(event, ts=int(wall_clock_ms()))
        stored, _ = conversation.append(event)
        self._node.spread(conversation)
        for gone in leaving - set(conversation.members):
            self._node.shut_out(gone, conversation)
        return wire.Changed(stored.seq, conversation.name)

    def _list(
        self, robot: str, frame: ask.ListGroups | ask.ListMembers | ask.ListRobots
    ) -> list[Struct]:
        node = self._node
        rows: list[tuple[str, Struct]] = []
        match frame:
            case ask.ListGroups():
                rows = [
                    (
                        each.name,
                        wire.GroupRow(each.name, each.members[robot], len(each.members), each.head),
                    )
                    for each in node.conversations.of(robot)
                    if names.is_group(each.name)
                ]
            case ask.ListMembers():
                conversation = node.conversations.get(frame.conv)
                conversation.require(robot)
                rows = [(name, self._member(conversation, name)) for name in conversation.members]
            case ask.ListRobots():
                rows = [
                    (name, wire.RobotRow(name, node.is_online(name), ms))
                    for name, ms in node.registered_ms.items()
                ]
        limit = min(frame.limit, node.limits.page_max)
        return [row for name, row in sorted(rows, key=_name) if name > (frame.after or "")][:limit]

    def _require_known(self, robots: list[str]) -> None:
        for robot in robots:
            if robot not in self._node.registered_ms:
                raise Refused(ErrorCode.NOT_FOUND, f"robot {robot!r} is not registered")

    def _member(self, conversation: MemoryConversation, robot: str) -> wire.MemberRow:
        return wire.MemberRow(
            robot,
            conversation.members[robot],
            online=self._node.is_online(robot),
            since=conversation.since.get(robot, 1),
            acked=self._node.furthest(robot, conversation.name),
        )


def _name(row: tuple[str, Struct]) -> str:
    return row[0]
