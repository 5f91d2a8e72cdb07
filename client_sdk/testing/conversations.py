"""The logs of the server in memory: order, exactly once, and who belongs where."""

from typing import Any, Final

import msgspec
from msgspec import Raw

from client_sdk.errors import Refused
from imserver.protocol import events, names
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Event, Role

WRITERS: Final = frozenset({Role.OWNER, Role.ADMIN, Role.MEMBER})
LEADERS: Final = frozenset({Role.OWNER, Role.ADMIN})


class MemoryConversation:
    """One log with its members.

    Attributes:
        floor: events up to this seq are gone.
    """

    def __init__(self, name: str, members: dict[str, Role], *, open: bool = False) -> None:  # noqa: A002
        self.name = name
        self.epoch = "memory"
        self.members = members
        self.since = dict.fromkeys(members, 1)
        self.open = open
        self.floor = 0
        self._log: list[Event] = []
        self._by_cid: dict[tuple[str, str], Event] = {}

    @property
    def head(self) -> int:
        """The seq of the last event."""
        return len(self._log)

    def append(self, event: Event) -> tuple[Event, bool]:
        """Store an event, whose seq is set here; return it and whether its cid had been stored before.

        Raises:
            Refused: ``conflict`` if the cid was used for another kind, ref or body.
        """
        known = self._by_cid.get((event.sender, event.cid))
        if known is not None:
            if (known.kind, known.ref, known.body) != (event.kind, event.ref, event.body):
                message = f"cid {event.cid} was used for another event, seq {known.seq}"
                raise Refused(ErrorCode.CONFLICT, message)
            return known, True
        stored = msgspec.structs.replace(event, seq=self.head + 1)
        self._log.append(stored)
        self._by_cid[(event.sender, event.cid)] = stored
        return stored, False

    def after(self, seq: int, limit: int) -> list[Event]:
        """Return the events that follow ``seq``, at most ``limit``."""
        start = max(seq, self.floor)
        return self._log[start : start + limit]

    def before(self, seq: int, limit: int) -> list[Event]:
        """Return the last ``limit`` events in front of ``seq``."""
        end = min(max(seq - 1, 0), self.head)
        return self._log[max(end - limit, self.floor) : end]

    def shown(self, event: Event) -> Event:
        """Return an event as the view ``messages`` shows it: edits and redactions folded in."""
        amending = [
            each
            for each in self._log
            if each.ref == event.seq and each.kind in events.AMENDING_KINDS
        ]
        redactions = [each for each in amending if each.kind == events.REDACT]
        deciding = (redactions or amending)[-1:]
        return msgspec.structs.replace(event, body=deciding[0].body) if deciding else event

    def require(self, robot: str, roles: frozenset[Role] = frozenset(Role)) -> None:
        """Return if ``robot`` is a member with one of ``roles``.

        Raises:
            Refused: ``not_found`` or ``forbidden``.
        """
        role = self.members.get(robot)
        if role is None:
            raise not_found(self.name)
        if role not in roles:
            raise Refused(ErrorCode.FORBIDDEN, f"your role in {self.name} is {role.value}")

    def cut_back(self, through: int, epoch: str) -> None:
        """Lose the events behind ``through``; what has those numbers next is something else."""
        for event in self._log[through:]:
            del self._by_cid[(event.sender, event.cid)]
        del self._log[through:]
        self.epoch = epoch

    def change(self, kind: str, sender: str, body: Any) -> Event:
        """Apply a change of the membership and return the event that records it, not stored yet."""
        seq = self.head + 1
        match kind:
            case events.MEMBERS_ADDED:
                for robot in body["robots"]:
                    self.members[robot] = Role(body["role"])
                    self.since.setdefault(robot, seq)
            case events.ROLE_CHANGED:
                self.members[body["robot"]] = Role(body["role"])
            case events.MEMBERS_REMOVED:
                for robot in body["robots"]:
                    self.members.pop(robot, None)
                    self.since.pop(robot, None)
            case events.GROUP_DELETED:
                self.members.clear()
        cid = f"{events.SERVER_CID_PREFIX}{seq}"
        return Event(seq, 0, sender, cid, kind, Raw(msgspec.msgpack.encode(body)))


class Conversations:
    """All logs by name; direct lines come into being when they are first asked for."""

    def __init__(self) -> None:
        self._by_name: dict[str, MemoryConversation] = {}

    def create(
        self,
        name: str,
        owner: str,
        members: list[str],
        *,
        open: bool,  # noqa: A002  the word of the wire
    ) -> MemoryConversation:
        """Make a group.

        Raises:
            Refused: ``exists``.
        """
        if name in self._by_name:
            raise Refused(ErrorCode.EXISTS, f"{name} exists, or has existed; take another name")
        roles = {**dict.fromkeys(members, Role.MEMBER), owner: Role.OWNER}
        conversation = self._by_name[name] = MemoryConversation(name, roles, open=open)
        return conversation

    def get(self, name: str) -> MemoryConversation:
        """Return a conversation.

        Raises:
            Refused: ``not_found``.
        """
        if name not in self._by_name:
            if names.is_group(name):
                raise not_found(name)
            pair = names.direct_members(names.conversation(name))
            self._by_name[name] = MemoryConversation(name, dict.fromkeys(pair, Role.MEMBER))
        return self._by_name[name]

    def of(self, robot: str) -> list[MemoryConversation]:
        """Return the conversations that ``robot`` is a member of, by name."""
        return [
            self._by_name[name]
            for name in sorted(self._by_name)
            if robot in self._by_name[name].members
        ]


def not_found(conv: str) -> Refused:
    """Return the one answer for what is missing, ended, or not the asker's."""
    return Refused(
        ErrorCode.NOT_FOUND, f"there is no conversation {conv!r} that you are a member of"
    )
