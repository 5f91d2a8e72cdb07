"""The simulated disk and the store on it.

The disk knows two states of a transaction: *written* (in the page cache, where it survives the death of the
process but not of the machine) and *synced* (durable). A power cut keeps what is synced and a random prefix
of what is only written. The store is the logic of `MemoryStore`, applied when a transaction is synced, with
time passing and faults striking before, between and after. Opening the store replays the disk.

An operator can copy what is durable and put a copy back, or accept that the end of the logs is lost: then a
new epoch begins. The disk can also lose what was durable, and tell nobody.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from imserver.core.acts import Act
from imserver.core.errors import Refusal, StoreFailed, StoreUnavailable
from imserver.core.model import (
    Append,
    ConversationRecord,
    Cursor,
    Enrolment,
    GroupSummary,
    Keep,
    Membership,
    Outcome,
    RobotRecord,
    Stored,
)
from imserver.data.memory.store import MemoryStore
from imserver.data.store import Administration, Boots
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from imserver.protocol.packed_events import PackedEvents
from tests.simulation.administration import SimAdministration, SimBoots
from tests.simulation.timeline import Timeline
from tests.simulation.trace import Trace
from tests.simulation.truth import Archive, Truth, begin_epoch, halted_of, heads_of, keeps_enough

T = TypeVar("T")
FIRST_EPOCH = "epoch-1"
LAST_WORDS_S = 0.2

Apply = Callable[[MemoryStore], Coroutine[Any, Any, Any]]


class Transaction(Struct):
    """A write: what it does to the store, for which conversations, and whether it is durable."""

    apply: Apply
    convs: list[ConversationName] = []
    synced: bool = False
    begins_epoch: bool = False


class DiskHealth(Struct):
    """How the disk behaves at present.

    Attributes:
        write_s, sync_s: least and most time of a write, and of making it durable.
        read_s: least and most time of a read.
        full: how likely it is that a write is refused for want of space.
        broken_syncs: how many of the next syncs fail with an unknown outcome.
        unreadable: how likely it is that a read fails.
    """

    write_s: tuple[float, float] = (0.0001, 0.0008)
    sync_s: tuple[float, float] = (0.0002, 0.003)
    read_s: tuple[float, float] = (0.0001, 0.002)
    full: float = 0.0
    broken_syncs: int = 0
    unreadable: float = 0.0


class Disk:
    """What outlives the server's process, or not.

    Attributes:
        truth: what was durable, at any time.
        closed_well: the last process ended in good order.
        in_doubt: the present process began without that.
        halted: conversations that take nothing more, because a robot has seen what is lost.
        on_alarm: called when a conversation is halted.
    """

    def __init__(self, timeline: Timeline, trace: Trace, dice: random.Random) -> None:
        self.timeline = timeline
        self.trace = trace
        self.dice = dice
        self.health = DiskHealth()
        self.transactions: list[Transaction] = []
        self.truth = Truth([])
        self.closed_well = True
        self.in_doubt = False
        self.halted: set[str] = set()
        self.on_alarm: Callable[[], None] = _ignore
        self._epochs = 1

    def cut_power(self) -> None:
        """Lose what was not synced, but for a random prefix of it."""
        unsynced = [n for n, known in enumerate(self.transactions) if not known.synced]
        if not unsynced:
            return
        kept = self.dice.randrange(len(unsynced) + 1)
        self.trace.counts["unsynced transactions lost"] += len(unsynced) - kept
        for number in reversed(unsynced[kept:]):
            del self.transactions[number]
        self.sync_all()

    def sync_all(self) -> None:
        """Make everything durable that was written."""
        for known in self.transactions:
            known.synced = True

    def replay(self) -> Archive:
        """Return the store that the disk holds."""
        store = Archive(epoch=FIRST_EPOCH)
        for transaction in self.transactions:
            with contextlib.suppress(Refusal):
                at_once(transaction.apply(store))
        return store

    def open(self) -> Archive:
        """Return the store as a process finds it that opens it now, durable before any of it is served."""
        self.sync_all()
        store = self.replay()
        durable_at_s = self.truth.durable_at_s
        for conv, events in store.version().logs.items():
            for event in events:
                key = (store.epoch, conv, event.seq, event.cid)
                durable_at_s.setdefault(key, self.timeline.now_s)
        self._note_floors(store)
        return store

    # What an operator does, and what befalls the disk, while no process runs on it.

    def copy(self, *, old: bool) -> list[Transaction]:
        """Return a backup: what is durable, or what was when the epoch began."""
        durable = [transaction for transaction in self.transactions if transaction.synced]
        if old:
            begun = max(n for n, known in enumerate(durable) if known.begins_epoch)
            del durable[begun + 1 :]
        return durable

    def is_of_this_epoch(self, copy: Sequence[Transaction]) -> bool:
        """Tell whether a backup was taken since the present epoch began."""
        epochs = [known for known in self.transactions if known.begins_epoch]
        return epochs == [known for known in copy if known.begins_epoch]

    def put_back(self, copy: Sequence[Transaction]) -> None:
        """Replace everything by a backup, under a new epoch."""
        self._end_version()
        self.transactions = list(copy)
        self._begin_epoch()

    def accept_loss(self) -> None:
        """Go on with what is there, under a new epoch."""
        self._end_version()
        self._begin_epoch()

    def lose_tail(self, count: int) -> None:
        """Lose the last transactions with events of this epoch, and all that came after them.

        Every conversation keeps its beginning: one that is lost whole leaves nothing that could show it.
        """
        self._end_version()
        begun = max(n for n, known in enumerate(self.transactions) if known.begins_epoch)
        places = [n for n, known in enumerate(self.transactions) if known.convs and n > begun]
        whole, before = self.transactions, heads_of(self.replay())
        for number in places[-count:]:
            self.transactions = whole[:number]
            if heads_of(self.replay()).keys() == before.keys():
                break
        else:
            self.transactions = whole
        left = self.replay()
        after = heads_of(left)
        self.halted = halted_of(left)
        lost = sum(before.values()) - sum(after.values())
        self.trace.counts["events lost behind the server's back"] += lost
        self.truth.lost_at_s.append(self.timeline.now_s)
        self.truth.lost_tails |= {conv for conv in before if after.get(conv, 0) < before[conv]}
        self._note_floors(left)

    def end(self) -> Truth:
        """Return the truth, at the end of a run."""
        self._end_version()
        return self.truth

    def _end_version(self) -> None:
        self.sync_all()
        self.truth.versions.append(self.replay().version())

    def _begin_epoch(self) -> None:
        self._epochs += 1
        epoch = f"epoch-{self._epochs}"

        async def begin(memory: MemoryStore) -> None:
            begin_epoch(memory, epoch)

        self.truth.kept[epoch] = heads_of(self.replay())
        self.transactions.append(Transaction(begin, synced=True, begins_epoch=True))
        self.halted.clear()
        self.closed_well = True
        self._note_floors(self.replay())

    def _note_floors(self, store: MemoryStore) -> None:
        """Take in where the floors are, wherever they were before."""
        for conv, log in store._logs.items():
            self.note_floor(conv, log.floor)

    def note_floor(self, conv: str, floor: int) -> None:
        """Take in where the floor of a log is now."""
        floors = self.truth.floors.setdefault(conv, [(0.0, 1)])
        if floor != floors[-1][1]:
            floors.append((self.timeline.now_s, floor))


class SimStore:
    """The `Store` of one life of the server; one writer, as the embedded engine has."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.memory = disk.open()
        disk.in_doubt = not disk.closed_well
        disk.closed_well = False
        self._writing = asyncio.Lock()
        self._failure: StoreFailed | None = None
        self._failed = asyncio.Event()
        self._keep = Keep()
        self.administration: Administration = SimAdministration(self.memory, self._write)
        self.boots: Boots = SimBoots(self.memory, self._write)
        disk.halted = halted_of(self.memory)
        if disk.halted:
            disk.on_alarm()

    # EventLog

    async def append(self, events: Sequence[Append]) -> list[Outcome]:
        events = list(events)
        outcomes: list[Outcome] = await self._write(
            lambda memory: memory.append(events), [event.conv for event in events]
        )
        self.disk.trace.counts["commits"] += 1
        dups = sum(isinstance(outcome, Stored) and outcome.dup for outcome in outcomes)
        self.disk.trace.counts["duplicates found by the store"] += dups
        return outcomes

    async def read_after(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        self.disk.trace.counts["pages read"] += 1
        read = self.memory.read_after
        return await self._read(lambda: read(conv, after, limit=limit, bytes_max=bytes_max))

    async def read_page(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> PackedEvents | None:
        self.disk.trace.counts["pages read"] += 1
        read = self.memory.read_page
        return await self._read(lambda: read(conv, after, limit=limit, bytes_max=bytes_max))

    async def read_before(
        self, conv: ConversationName, before: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        read = self.memory.read_before
        return await self._read(lambda: read(conv, before, limit=limit, bytes_max=bytes_max))

    async def read_one(self, conv: ConversationName, seq: int) -> Event | None:
        return await self._read(lambda: self.memory.read_one(conv, seq))

    async def amendments(
        self, conv: ConversationName, seqs: Sequence[int], *, until: int
    ) -> dict[int, Event]:
        return await self._read(lambda: self.memory.amendments(conv, seqs, until=until))

    async def first_kept(self, conv: ConversationName, keep: Keep) -> int:
        self._keep = keep
        return await self._read(lambda: self.memory.first_kept(conv, keep))

    async def trim(self, conv: ConversationName, below: int, *, limit: int) -> int:
        if not limit:  # it is asked where the floor is
            return await self._read(lambda: self.memory.trim(conv, below, limit=0))
        floor: int = await self._write(
            lambda memory: memory.trim(conv, below, limit=limit), trims=conv
        )
        return floor

    # Registry

    async def register(
        self, robot: RobotRecord, *, enrolment: Enrolment, act: Act | None = None
    ) -> RobotRecord:
        stored: RobotRecord = await self._write(
            lambda memory: memory.register(robot, enrolment=enrolment, act=act)
        )
        return stored

    async def ensure_robot(self, robot: RobotRecord) -> RobotRecord:
        known = await self._read(lambda: self.memory.robot(robot.name))
        return known or await self._write(lambda memory: memory.ensure_robot(robot))

    async def robot(self, name: RobotName) -> RobotRecord | None:
        return await self._read(lambda: self.memory.robot(name))

    async def known_robots(self, names: Sequence[RobotName]) -> set[RobotName]:
        return await self._read(lambda: self.memory.known_robots(names))

    async def robots(self, *, after: str, limit: int) -> list[RobotRecord]:
        return await self._read(lambda: self.memory.robots(after=after, limit=limit))

    async def conversation(self, conv: ConversationName) -> ConversationRecord | None:
        return await self._read(lambda: self.memory.conversation(conv))

    async def memberships(self, robot: RobotName, device: DeviceName) -> list[Membership]:
        return await self._read(lambda: self.memory.memberships(robot, device))

    async def groups(
        self, *, member: RobotName | None, after: str, limit: int
    ) -> list[GroupSummary]:
        read = self.memory.groups
        return await self._read(lambda: read(member=member, after=after, limit=limit))

    # Cursors and Store

    async def move_cursors(self, cursors: Sequence[Cursor]) -> None:
        cursors = list(cursors)
        await self._write(lambda memory: memory.move_cursors(cursors))
        self.disk.trace.counts["commits"] += 1

    async def acked(self, conv: ConversationName) -> dict[RobotName, int]:
        return await self._read(lambda: self.memory.acked(conv))

    async def note_loss(self, conv: ConversationName, seen: int) -> bool:
        self.disk.trace.counts["robots ahead of the log"] += 1
        if not self.disk.in_doubt:
            return False
        noted: bool = await self._write(lambda memory: memory.note_loss(conv, seen))
        if noted:
            self.disk.trace.counts["conversations halted"] += 1
            self.disk.halted.add(conv)
            self.disk.on_alarm()
        return noted

    async def probe(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def aclose(self) -> None:
        """End in good order, unless a commit is in doubt."""
        self.disk.closed_well = self._failure is None

    async def watch(self) -> None:
        """Wait until a sync has failed, and a moment longer; then raise `StoreFailed`."""
        await self._failed.wait()
        await asyncio.sleep(LAST_WORDS_S)
        assert self._failure is not None, "it was set before"
        raise self._failure

    async def _read(self, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Read at some moment between the question and the answer."""
        health, dice = self.disk.health, self.disk.dice
        await asyncio.sleep(dice.uniform(*health.read_s) / 2)
        if health.unreadable and dice.random() < health.unreadable:
            self.disk.trace.counts["reads failed"] += 1
            raise StoreUnavailable("simulated: the file cannot be read")
        result = at_once(read())
        await asyncio.sleep(dice.uniform(*health.read_s) / 2)
        return result

    async def _write(
        self,
        apply: Apply,
        convs: Sequence[ConversationName] = (),
        *,
        trims: ConversationName | None = None,
    ) -> Any:
        """Write, sync, apply and return, each in its time."""
        async with self._writing:
            health, dice = self.disk.health, self.disk.dice
            if self._failure is not None:
                raise self._failure
            await asyncio.sleep(dice.uniform(*health.write_s))
            if health.full and dice.random() < health.full:
                self.on_full(apply)
                raise StoreUnavailable("simulated: no space left on the disk")
            transaction = Transaction(apply, list(convs))
            self.disk.transactions.append(transaction)
            await self.sync(transaction)
            result = self._apply(transaction)
            if trims is not None:
                self._let_go(trims)
        await asyncio.sleep(dice.uniform(*health.write_s) / 2)
        return result

    def on_full(self, apply: Apply) -> None:
        """Count a write that found no space."""
        self.disk.trace.counts["commits refused"] += 1

    async def sync(self, transaction: Transaction) -> None:
        """Make a transaction durable.

        Raises:
            StoreFailed: whether it is durable is unknown, in this process and for ever.
        """
        health, dice = self.disk.health, self.disk.dice
        await asyncio.sleep(dice.uniform(*health.sync_s))
        if health.broken_syncs:
            health.broken_syncs -= 1
            self.on_broken_sync(transaction)
        self.disk.sync_all()

    def on_broken_sync(self, transaction: Transaction) -> None:
        """Fail, with the transaction on the disk or not."""
        self.disk.trace.counts["commits of unknown outcome"] += 1
        self.forget_at_random(transaction)
        self._failure = StoreFailed("simulated: the sync failed")
        self._failed.set()
        raise self._failure

    def forget_at_random(self, transaction: Transaction) -> None:
        """Let the system lose a transaction whose sync failed, or keep it, by a coin."""
        if self.disk.dice.random() < 0.5:
            self.disk.transactions.remove(transaction)

    def _apply(self, transaction: Transaction) -> Any:
        result = at_once(transaction.apply(self.memory))
        for conv, outcome in zip(
            transaction.convs, result if transaction.convs else (), strict=True
        ):
            if isinstance(outcome, Stored) and not outcome.dup:
                self._stored(conv, outcome.event)
        return result

    def _stored(self, conv: str, event: Event) -> None:
        disk = self.disk
        key = (self.memory.epoch, conv, event.seq, event.cid)
        disk.truth.durable_at_s.setdefault(key, disk.timeline.now_s)
        disk.trace.counts["events stored"] += 1
        disk.trace.counts[f"events stored: {event.kind}"] += 1
        if conv in disk.halted:
            disk.trace.problem("G3 a halted log goes on", f"{conv} {event.seq}")

    def _let_go(self, conv: str) -> None:
        """Take in that retention has trimmed a log."""
        disk, log = self.disk, self.memory._logs[conv]
        disk.trace.counts["times that old events were let go"] += 1
        disk.note_floor(conv, log.floor)
        if not log.events or not keeps_enough(self.memory, conv, self._keep):
            what = f"{conv}: floor {log.floor}, head {log.head}, to keep {self._keep}"
            disk.trace.problem("G1 too much was let go", what)


def _ignore() -> None:
    """Stand in until somebody listens."""


def at_once(work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Run a coroutine that never waits and return its result."""
    try:
        work.send(None)  # type: ignore[union-attr]
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("the store in memory does not wait")
