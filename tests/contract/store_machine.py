"""A store in any sequence of calls, ends and kills, against a model of plain lists (see `Machine`)."""

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from imserver.core.errors import Refusal
from imserver.core.model import (
    Added,
    Append,
    Created,
    Cursor,
    Deleted,
    Halted,
    Member,
    Removed,
    RobotRecord,
    Stored,
)
from imserver.data.store import Store
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName, RobotName, direct_members, is_group
from tests.contract.records import (
    MAIN,
    R1,
    R2,
    R3,
    SPARE,
    change,
    content_of,
    cursor,
    enrolment,
    event,
    seen_in,
    whole_log,
)
from tests.contract.store_contract import CONVS, Model

ROBOTS = (R1, R2, R3)
DEVICES = (MAIN, SPARE)
T = TypeVar("T")

_convs = st.sampled_from(CONVS)
_groups = st.sampled_from([conv for conv in CONVS if is_group(conv)])
_cids = st.sampled_from([f"c{number}" for number in range(8)])
_some = st.lists(st.sampled_from(ROBOTS), min_size=1, max_size=2, unique=True).map(tuple)
_changes = st.one_of(
    st.builds(
        Created,
        members=st.dictionaries(st.sampled_from(ROBOTS), st.sampled_from(Role)),
        open=st.booleans(),
    ),
    st.builds(Added, robots=_some, role=st.sampled_from(Role)),
    st.builds(Removed, robots=_some),
    st.builds(Deleted),
)
_appends = st.one_of(
    st.builds(
        event,
        _cids,
        _convs,
        sender=st.sampled_from(ROBOTS),
        kind=st.sampled_from(["message", "edit"]),
        body=st.binary(max_size=3).map(msgspec.msgpack.encode),
        ref=st.none() | st.integers(1, 3),
    ),
    st.builds(change, _cids, _changes, _groups, sender=st.sampled_from(ROBOTS)),
)
_cursors = st.builds(
    cursor,
    st.integers(0, 8),
    _convs,
    robot=st.sampled_from(ROBOTS),
    device=st.sampled_from(DEVICES),
)


class Engine(Protocol):
    """How a store is opened, and how its process may end."""

    can_end: ClassVar[bool]
    """Whether it keeps anything beyond its end."""

    async def open(self) -> Store:
        """Return the store, with what was stored in it before."""

    async def end(self, store: Store) -> None:
        """End it in good order."""

    async def die(self, store: Store) -> None:
        """End it as a kill does."""

    def remove(self) -> None:
        """Remove all traces."""


class WholeModel(Model):
    """The model of the logs, and beside it members, cursors of devices, robots, and what is halted."""

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[ConversationName, dict[RobotName, Member]] = {}
        self.devices: dict[tuple[ConversationName, RobotName, str], int] = {}
        self.robots: dict[RobotName, RobotRecord] = {}
        self.spent: set[str] = set()
        self.halted: dict[ConversationName, int] = {}
        self.in_doubt = False

    def store(self, asked: Append) -> tuple[type, int | None, bool]:
        """Return the kind of outcome of an append, its seq, and whether it is a repeat."""
        if asked.conv in self.halted and not self._is_known(asked):
            outcome = self._dry(asked)
            return (Halted, None, False) if outcome is Stored else (outcome, None, False)
        kind, seq, dup = self.append(asked)
        if kind is Stored and not dup and seq is not None:
            self._change(asked, seq)
        return kind, seq, dup

    def _is_known(self, asked: Append) -> bool:
        floor = self.floor(asked.conv)
        kept = self.logs.get(asked.conv, [])[floor - 1 :]
        return any((one.sender, one.cid) == (asked.sender, asked.cid) for one in kept)

    def _dry(self, asked: Append) -> type:
        """Return what would become of a new event if its conversation were not halted."""
        log, ended = list(self.logs.get(asked.conv, [])), set(self.ended)
        kind, _, _ = self.append(asked)
        self.logs[asked.conv], self.ended = log, ended
        return kind

    def _change(self, asked: Append, seq: int) -> None:
        members = self.members.setdefault(asked.conv, {})
        if not is_group(asked.conv) and not members:
            members.update({name: Member(Role.MEMBER, 1) for name in direct_members(asked.conv)})
        match asked.change:
            case Created(members=first):
                members.update({name: Member(role, seq) for name, role in first.items()})
            case Added(robots=robots, role=role):
                for name in robots:
                    since = members[name].since if name in members else seq
                    members[name] = Member(role, since)
            case Removed(robots=robots):
                for name in robots:
                    members.pop(name, None)
            case Deleted():
                members.clear()

    def move_device(self, moved: Cursor) -> None:
        """Take in a cursor."""
        if moved.conv in self.logs and moved.seq <= len(self.logs[moved.conv]):
            key = (moved.conv, moved.robot, moved.device)
            self.devices[key] = max(moved.seq, self.devices.get(key, 0))

    def furthest(self, conv: ConversationName) -> dict[RobotName, int]:
        """Return the furthest cursor of each robot's devices."""
        found: dict[RobotName, int] = {}
        for (name, robot, _), seq in self.devices.items():
            if name == conv:
                found[robot] = max(seq, found.get(robot, 0))
        return found

    def kept(self, conv: ConversationName) -> list[tuple[int, Append]]:
        """Return what is kept of a log, with its seqs."""
        floor = self.floor(conv)
        return list(enumerate(self.logs.get(conv, []), 1))[floor - 1 :]


class Machine(RuleBasedStateMachine):
    """One store through all its lives. An engine's test derives from it and says how to open it."""

    engine: ClassVar[type[Engine]]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.place = self.engine()
        self.model = WholeModel()
        self.store = self.do(self.place.open())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a call to its end."""
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        """Look a last time, and end the store."""
        try:
            self.look()
        finally:
            self.do(self.store.aclose())
            self.loop.close()
            self.place.remove()

    # What callers do.

    @rule(asked=st.lists(_appends, min_size=1, max_size=6))
    def append(self, asked: list[Append]) -> None:
        outcomes = self.do(self.store.append(asked))
        expected = [self.model.store(one) for one in asked]
        assert [seen_in(outcome) for outcome in outcomes] == expected

    @rule(moved=st.lists(_cursors, min_size=1, max_size=6))
    def move_cursors(self, moved: list[Cursor]) -> None:
        self.do(self.store.move_cursors(moved))
        for one in moved:
            self.model.move_device(one)

    @rule(conv=_convs, below=st.integers(0, 12), limit=st.integers(0, 4))
    def trim(self, conv: ConversationName, below: int, limit: int) -> None:
        floor = self.do(self.store.trim(conv, below, limit=limit))
        assert floor == self.model.trim(conv, below, limit)

    @rule(name=st.sampled_from(ROBOTS), token=st.sampled_from(["t1", "t2", "t3"]))
    def register(self, name: RobotName, token: str) -> None:
        robots, spent = self.model.robots, self.model.spent
        asked = RobotRecord(name, bytes(32), 7)
        known = robots.get(name)
        may = token not in spent and (known is None or known.public_key is None)
        try:
            stored = self.do(self.store.register(asked, enrolment=enrolment(token)))
        except Refusal:
            assert not may
            return
        assert may
        assert stored == RobotRecord(name, bytes(32), known.registered_ms if known else 7)
        robots[name] = stored
        spent.add(token)

    @rule(name=st.sampled_from(ROBOTS))
    def meet(self, name: RobotName) -> None:
        asked = RobotRecord(name, bytes(32), 5)
        stored = self.do(self.store.ensure_robot(asked))
        expected = self.model.robots.setdefault(name, RobotRecord(name, None, 5))
        assert stored == expected

    @rule(conv=_convs, seen=st.integers(1, 40))
    def note_loss(self, conv: ConversationName, seen: int) -> None:
        model = self.model
        halts = model.in_doubt and conv in model.logs and seen > len(model.logs[conv])
        is_halted = self.do(self.store.note_loss(conv, seen))
        assert is_halted == halts
        if halts:
            model.halted[conv] = max(seen, model.halted.get(conv, 0))

    # What becomes of the process.

    @precondition(lambda self: self.engine.can_end)
    @rule()
    def end_and_open_again(self) -> None:
        self.do(self.place.end(self.store))
        self.store = self.do(self.place.open())
        self.model.in_doubt = False

    @precondition(lambda self: self.engine.can_end)
    @rule()
    def die_and_open_again(self) -> None:
        self.do(self.place.die(self.store))
        self.store = self.do(self.place.open())
        self.model.in_doubt = True

    # What must be so whenever one looks.

    @rule()
    def look(self) -> None:
        self.do(self._compare())

    async def _compare(self) -> None:
        for conv in CONVS:
            await self._compare_log(conv)
        for robot in ROBOTS:
            await self._compare_memberships(robot)
        robots = await self.store.robots(after="", limit=10)
        assert {robot.name: robot for robot in robots} == self.model.robots

    async def _compare_log(self, conv: ConversationName) -> None:
        model = self.model
        entries = await whole_log(self.store, conv)
        assert [content_of(entry) for entry in entries] == [
            (seq, one.sender, one.cid, one.kind, one.ref, one.body) for seq, one in model.kept(conv)
        ]
        record = await self.store.conversation(conv)
        assert (record is None) == (conv not in model.logs)
        if record is not None:
            assert (record.head, record.floor) == (len(model.logs[conv]), model.floor(conv))
            assert record.members == model.members.get(conv, {})
            assert record.deleted == (conv in model.ended)
        assert await self.store.acked(conv) == model.furthest(conv)

    async def _compare_memberships(self, robot: RobotName) -> None:
        members = self.model.members
        expected = {conv: those[robot] for conv, those in members.items() if robot in those}
        found = await self.store.memberships(robot, MAIN)
        assert {m.conv: Member(m.role, m.since) for m in found} == expected
        for membership in found:
            acked = self.model.devices.get((membership.conv, robot, MAIN))
            assert membership.device_acked == acked
