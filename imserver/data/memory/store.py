"""The store in memory: for tests, trials and the simulator. Keeps every promise but survival.

A supported engine: it passes the contract suite of the port. Nothing is written anywhere.
"""

from collections.abc import Sequence
from itertools import islice

from msgspec import Raw, structs

from imserver.core.acts import Act
from imserver.core.model import (
    Added,
    Append,
    ConversationRecord,
    Created,
    Deleted,
    Enrolment,
    GroupSummary,
    Halted,
    Keep,
    Member,
    Membership,
    MembershipChange,
    Mismatch,
    Missing,
    Outcome,
    Recall,
    Refers,
    Removed,
    RobotRecord,
    Stored,
    Taken,
)
from imserver.data.enrolments import check_enrolment
from imserver.data.memory.administration import MemoryAdministration, MemoryBoots
from imserver.data.memory.cursors import MemoryCursors
from imserver.data.memory.files import MemoryFiles
from imserver.data.packing import Packing
from imserver.data.store import Administration, Boots
from imserver.protocol.bodies import is_same
from imserver.protocol.events import AMENDING_KINDS, REDACT, Event, Role
from imserver.protocol.names import (
    ConversationName,
    DeviceName,
    RobotName,
    direct_members,
    is_group,
)


class _Log:
    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.floor = 1
        self.events: list[Event] = []
        self.by_cid: dict[tuple[str, str], Event] = {}
        self.members: dict[RobotName, Member] = {}
        self.open = False
        self.deleted = False
        self.seen: int | None = None

    @property
    def head(self) -> int:
        return self.floor - 1 + len(self.events)

    def place(self, seq: int) -> int:
        """Return where in ``events`` the one with ``seq`` stands, or would, cut to its length."""
        return min(max(seq - self.floor, 0), len(self.events))


class MemoryStore(MemoryCursors, Packing):
    """A `Store` that forgets everything at its end.

    ``in_doubt``: as a store is whose process died, it believes that events may have been lost.

    Attributes:
        files: the catalogue of files, which is part of the store.
    """

    def __init__(self, *, epoch: str = "memory", in_doubt: bool = False) -> None:
        super().__init__()
        self._epoch = epoch
        self._in_doubt = in_doubt
        self._logs: dict[str, _Log] = {}
        self._robots: dict[RobotName, RobotRecord] = {}
        self._spent: set[str] = set()
        self.administration: Administration = MemoryAdministration(self._robots, self._spent)
        self.boots: Boots = MemoryBoots()
        self.files = MemoryFiles(self.conversation)

    # EventLog

    async def append(self, events: Sequence[Append]) -> list[Outcome]:
        return [self._append(event) for event in events]

    async def read_after(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        log = self._logs.get(conv)
        if log is None:
            return []
        start = log.place(after + 1)
        return _within(log.events[start : start + limit], bytes_max)

    async def read_before(
        self, conv: ConversationName, before: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        log = self._logs.get(conv)
        if log is None:
            return []
        end = log.place(before)
        newest_first = log.events[max(end - limit, 0) : end][::-1]
        return _within(newest_first, bytes_max)[::-1]

    async def read_one(self, conv: ConversationName, seq: int) -> Event | None:
        log = self._logs.get(conv)
        if log is None or not log.floor <= seq <= log.head:
            return None
        return log.events[log.place(seq)]

    async def amendments(
        self, conv: ConversationName, seqs: Sequence[int], *, until: int
    ) -> dict[int, Event]:
        wanted = set(seqs)
        log = self._logs.get(conv)
        found: dict[int, Event] = {}
        for event in log.events if log else ():
            if event.seq <= until and event.kind in AMENDING_KINDS and event.ref in wanted:
                known = found.get(event.ref)
                if known is None or known.kind != REDACT or event.kind == REDACT:
                    found[event.ref] = event
        return found

    async def first_kept(self, conv: ConversationName, keep: Keep) -> int:
        log = self._logs.get(conv)
        if log is None:
            return 0
        first = log.head + 1
        size = 0
        for event in reversed(log.events):
            size += len(memoryview(event.body))
            too_large = keep.body_bytes is not None and size > keep.body_bytes
            too_many = keep.events is not None and log.head - event.seq >= keep.events
            if too_large or too_many:
                break
            first = event.seq
        if keep.since_ms is not None:
            young = (event.seq for event in log.events if event.ts >= keep.since_ms)
            first = max(first, next(young, log.head))
        return min(first, log.head)

    async def trim(self, conv: ConversationName, below: int, *, limit: int) -> int:
        log = self._logs.get(conv)
        if log is None:
            return 0
        end = min(log.place(min(below, log.head)), limit)
        for event in log.events[:end]:
            del log.by_cid[event.sender, event.cid]
        del log.events[:end]
        log.floor += end
        self.files.trim(conv, log.floor)
        return log.floor

    # Registry

    async def register(
        self, robot: RobotRecord, *, enrolment: Enrolment, act: Act | None = None
    ) -> RobotRecord:
        known = self._robots.get(robot.name)
        token_id, revoked = enrolment.token_id, await self.administration.revoked()
        is_spent, is_revoked = token_id in self._spent, token_id in revoked.tokens
        check_enrolment(enrolment, known, is_spent=is_spent, is_revoked=is_revoked)
        if known is not None:
            robot = structs.replace(known, public_key=robot.public_key)
        self._robots[robot.name] = robot
        self._spent.add(enrolment.token_id)
        if act is not None:
            await self.administration.perform([act])
        return robot

    async def ensure_robot(self, robot: RobotRecord) -> RobotRecord:
        return self._robots.setdefault(robot.name, structs.replace(robot, public_key=None))

    async def robot(self, name: RobotName) -> RobotRecord | None:
        return self._robots.get(name)

    async def known_robots(self, names: Sequence[RobotName]) -> set[RobotName]:
        return {name for name in names if name in self._robots}

    async def robots(self, *, after: str, limit: int) -> list[RobotRecord]:
        names = sorted(name for name in self._robots if name > after)
        return [self._robots[name] for name in names[:limit]]

    async def conversation(self, conv: ConversationName) -> ConversationRecord | None:
        log = self._logs.get(conv)
        if log is None:
            return None
        return ConversationRecord(
            conv, log.epoch, log.head, log.open, log.deleted, dict(log.members), log.floor
        )

    async def memberships(self, robot: RobotName, device: DeviceName) -> list[Membership]:
        return [
            self._membership(ConversationName(conv), log, robot, device)
            for conv, log in sorted(self._logs.items())
            if robot in log.members
        ]

    async def groups(
        self, *, member: RobotName | None, after: str, limit: int
    ) -> list[GroupSummary]:
        found = (
            GroupSummary(
                ConversationName(conv),
                log.members[member].role if member in log.members else None,
                len(log.members),
                log.head,
            )
            for conv, log in sorted(self._logs.items())
            if is_group(conv) and conv > after and not log.deleted
            if member is None or member in log.members
        )
        return list(islice(found, limit))

    # Cursors

    async def note_loss(self, conv: ConversationName, seen: int) -> bool:
        log = self._logs.get(conv)
        if not self._in_doubt or log is None or seen <= log.head:
            return False
        log.seen = max(seen, log.seen or 0)
        return True

    # Store

    async def probe(self) -> None:
        """Return: memory is always there."""

    async def aclose(self) -> None:
        """Nothing to release."""

    def _append(self, asked: Append) -> Outcome:
        log = self._logs.get(asked.conv)
        if log is None and isinstance(asked.change, Created):
            log = self._logs[asked.conv] = _Log(self._epoch)
        elif log is None and not is_group(asked.conv) and _is_plain(asked):
            log = self._logs[asked.conv] = _Log(self._epoch)
            log.members = dict.fromkeys(direct_members(asked.conv), Member(Role.MEMBER, 1))
        elif log is None:
            return Missing()
        known = log.by_cid.get((asked.sender, asked.cid))
        if known is not None:
            return _duplicate(known, asked, log.epoch)
        if isinstance(asked.change, Created) and log.events:
            return Taken()
        if log.deleted or isinstance(asked.change, Recall):
            return Missing()
        if log.seen is not None:
            return Halted(log.seen)
        event = Event(
            seq=log.head + 1,
            ts=asked.ts,
            sender=asked.sender,
            cid=asked.cid,
            kind=asked.kind,
            body=Raw(asked.body),
            ref=asked.ref,
        )
        log.events.append(event)
        log.by_cid[asked.sender, asked.cid] = event
        if isinstance(asked.change, MembershipChange):
            _apply(log, asked.change, event.seq)
        elif isinstance(asked.change, Refers):
            self.files.refer(asked.change.file, asked.conv, event.seq)
        return Stored(log.epoch, event, dup=False)

    def _head(self, conv: ConversationName) -> int:
        log = self._logs.get(conv)
        return -1 if log is None else log.head

    def _membership(
        self, conv: ConversationName, log: _Log, robot: RobotName, device: DeviceName
    ) -> Membership:
        devices = self._cursors.get(conv, {})
        acked = [seq for (name, _), seq in devices.items() if name == robot]
        member = log.members[robot]
        return Membership(
            conv=conv,
            epoch=log.epoch,
            head=log.head,
            role=member.role,
            since=member.since,
            device_acked=devices.get((robot, device)),
            robot_acked=max(acked) if acked else None,
            floor=log.floor,
        )


def _within(events: list[Event], bytes_max: int) -> list[Event]:
    size = 0
    for count, event in enumerate(events):
        size += len(memoryview(event.body))
        if size > bytes_max:
            return events[: max(count, 1)]
    return events


def _is_plain(asked: Append) -> bool:
    return asked.change is None or isinstance(asked.change, Refers)


def _duplicate(known: Event, asked: Append, epoch: str) -> Outcome:
    same = (known.kind, known.ref) == (asked.kind, asked.ref) and is_same(known.body, asked.body)
    return Stored(epoch, known, dup=True) if same else Mismatch(known.seq)


def _apply(log: _Log, change: MembershipChange, seq: int) -> None:
    match change:
        case Created(members=members, open=is_open):
            log.open = is_open
            log.members = {robot: Member(role, seq) for robot, role in members.items()}
        case Deleted():
            log.deleted = True
            log.members.clear()
        case Added(robots=robots, role=role):
            for robot in robots:
                known = log.members.get(robot)
                log.members[robot] = Member(role, known.since if known else seq)
        case Removed(robots=robots):
            for robot in robots:
                log.members.pop(robot, None)
