"""The simulated disk and the store on it.

The disk knows two states of a transaction: *written* (in the page cache, where it survives the death of the
process but not of the machine) and *synced* (durable). A power cut keeps what is synced and a random prefix
of what is only written. The store is the logic of `MemoryStore`, applied when a transaction is synced, with
time passing and faults striking before, between and after. Opening the store replays the disk.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from imserver.core.errors import Refusal, StoreFailed, StoreUnavailable
from imserver.core.model import (
    Append,
    ConversationRecord,
    Cursor,
    GroupSummary,
    Keep,
    Membership,
    Outcome,
    RobotRecord,
    Stored,
)
from imserver.data.memory import MemoryStore
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from tests.simulation.timeline import Timeline
from tests.simulation.trace import Trace

T = TypeVar("T")
EPOCH = "simulated"

Apply = Callable[[MemoryStore], Coroutine[Any, Any, Any]]


class Transaction(Struct):
    """A write: what it does to the store, for which conversations, and whether it is durable."""

    apply: Apply
    convs: list[ConversationName] = []
    synced: bool = False


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
    """What outlives the server's process, or not."""

    def __init__(self, timeline: Timeline, trace: Trace, dice: random.Random) -> None:
        self.timeline = timeline
        self.trace = trace
        self.dice = dice
        self.health = DiskHealth()
        self.transactions: list[Transaction] = []
        self.durable_at_s: dict[tuple[str, int, str], float] = {}

    def cut_power(self) -> None:
        """Lose what was not synced, but for a random prefix of it."""
        unsynced = [n for n, known in enumerate(self.transactions) if not known.synced]
        if not unsynced:
            return
        kept = self.dice.randrange(len(unsynced) + 1)
        self.trace.counts["unsynced transactions lost"] += len(unsynced) - kept
        for number in reversed(unsynced[kept:]):
            del self.transactions[number]
        for known in self.transactions:
            known.synced = True

    def sync_all(self) -> None:
        """Make everything durable that was written."""
        for known in self.transactions:
            known.synced = True

    def replay(self) -> MemoryStore:
        """Return the store that the disk holds."""
        store = MemoryStore(epoch=EPOCH)
        for transaction in self.transactions:
            with contextlib.suppress(Refusal):
                at_once(transaction.apply(store))
        return store

    def open(self) -> MemoryStore:
        """Return the store as a process finds it that opens it now, durable before any of it is served."""
        self.sync_all()
        store = self.replay()
        for conv, events in logs_of(store).items():
            for event in events:
                self.durable_at_s.setdefault((conv, event.seq, event.cid), self.timeline.now_s)
        return store


class SimStore:
    """The `Store` of one life of the server; one writer, as the embedded engine has."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.memory = disk.open()
        self._writing = asyncio.Lock()
        self._failure: StoreFailed | None = None

    # EventLog

    async def append(self, events: Sequence[Append], cursors: Sequence[Cursor]) -> list[Outcome]:
        events, cursors = list(events), list(cursors)
        outcomes: list[Outcome] = await self._write(
            lambda memory: memory.append(events, cursors), [event.conv for event in events]
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

    async def read_before(
        self, conv: ConversationName, before: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        read = self.memory.read_before
        return await self._read(lambda: read(conv, before, limit=limit, bytes_max=bytes_max))

    async def read_one(self, conv: ConversationName, seq: int) -> Event | None:
        return await self._read(lambda: self.memory.read_one(conv, seq))

    async def amendments(self, conv: ConversationName, seqs: Sequence[int]) -> dict[int, Event]:
        return await self._read(lambda: self.memory.amendments(conv, seqs))

    async def first_kept(self, conv: ConversationName, keep: Keep) -> int:
        return await self._read(lambda: self.memory.first_kept(conv, keep))

    async def trim(self, conv: ConversationName, below: int, *, limit: int) -> int:
        floor: int = await self._write(lambda memory: memory.trim(conv, below, limit=limit))
        return floor

    # Registry

    async def register(
        self, robot: RobotRecord, *, token_id: str, token_expires_ms: int
    ) -> RobotRecord:
        stored: RobotRecord = await self._write(
            lambda memory: memory.register(
                robot, token_id=token_id, token_expires_ms=token_expires_ms
            )
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

    async def acked(self, conv: ConversationName) -> dict[RobotName, int]:
        return await self._read(lambda: self.memory.acked(conv))

    async def note_loss(self, conv: ConversationName, seen: int) -> bool:
        noted: bool = await self._write(lambda memory: memory.note_loss(conv, seen))
        return noted

    async def probe(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def aclose(self) -> None:
        """Nothing to release: the disk has it."""

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

    async def _write(self, apply: Apply, convs: Sequence[ConversationName] = ()) -> Any:
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
        raise self._failure

    def forget_at_random(self, transaction: Transaction) -> None:
        """Let the system lose a transaction whose sync failed, or keep it, by a coin."""
        if self.disk.dice.random() < 0.5:
            self.disk.transactions.remove(transaction)

    def _apply(self, transaction: Transaction) -> Any:
        result = at_once(transaction.apply(self.memory))
        disk = self.disk
        for conv, outcome in zip(
            transaction.convs, result if transaction.convs else (), strict=True
        ):
            if isinstance(outcome, Stored) and not outcome.dup:
                place = (conv, outcome.event.seq, outcome.event.cid)
                disk.durable_at_s.setdefault(place, disk.timeline.now_s)
                disk.trace.counts["events stored"] += 1
        return result


def logs_of(store: MemoryStore) -> dict[str, list[Event]]:
    """Return every log of a store in memory, by conversation."""
    return {conv: log.events for conv, log in sorted(store._logs.items())}


def at_once(work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Run a coroutine that never waits and return its result."""
    try:
        work.send(None)  # type: ignore[union-attr]
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("the store in memory does not wait")
