"""Brings events into the store: whatever arrives while one commit is on its way goes into the next.

So a batch of one is committed at once when the node is idle, and batches grow by themselves under load;
after a commit of many, `Gathering` lets those who were answered go together again. What is more than a
batch waits in a `FairQueue`, each robot behind itself, and a robot may have no more waiting than is still
free: so it is the robot that floods that waits and is refused, and the others hardly notice.

After each commit, in this order: every sender gets its outcome, then the committed events are published,
conversation by conversation, then the cursors are written that have waited for long enough, in a commit of
their own: what is stored does not wait for them. Nothing is published before its commit, and a commit that
failed with an unknown outcome ends the node: `run` raises, nothing is tried again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from imserver.core.clock import Clock
from imserver.core.errors import Refusal, StoreFailed, StoreUnavailable
from imserver.core.model import Append, Cursor, Outcome, Run, Stored, Unresolved
from imserver.data.store import Cursors, EventLog
from imserver.logic.fair_queue import EVENT_BYTES, Entry, FairQueue, weigh
from imserver.logic.gathering import Gathering
from imserver.logic.metrics import LogicMetrics
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import ConversationName, DeviceName, RobotName

_log = logging.getLogger("imserver.committer")

BATCH_EVENTS_MAX = 512
BATCH_BYTES_MAX = 1024 * 1024
"""So that who sends little beside large events waits for tens of milliseconds; larger ones store no more."""

LITTLE_BYTES = 16 * 1024
_RESERVE_PARTS = 8
"""A robot with no more than `LITTLE_BYTES` waiting has an eighth of the room that others must leave free."""

_UNAVAILABLE = "the store takes no writes now; send the same cid again"
_UNKNOWN = "the store failed and whether this was stored is unknown; send the same cid again"
_UNRESOLVED = "whether this was stored did not become known in time; send the same cid again"
_STOPPING = "this node stops and takes no more writes; reconnect and send the same cid again"
_OVERLOADED = "too much of this robot is waiting for the store already; send the same cid again"
CHANGED = "the sender's membership changed while this waited; send the same cid again"


class Waiter(Protocol):
    """Whoever asked for an append; told exactly once, must not wait."""

    def on_outcome(self, outcome: Outcome) -> None:
        """The commit is done: the event is durable, or definitely not stored."""

    def on_refusal(self, refusal: Refusal) -> None:
        """The append failed; with ``unavailable`` its outcome may be unknown."""


class WayIn(Protocol):
    """Where an event goes that is to be stored: the committer, or what stands before it."""

    def submit(self, append: Append, waiter: Waiter) -> None:
        """Put an event on its way; ``waiter`` learns what became of it.

        Raises:
            Refusal: ``unavailable``, definitely not stored: too much of this robot is waiting already, or the
                node stops.
        """

    async def append(self, append: Append) -> Outcome:
        """Store one event and return its outcome.

        Raises:
            Refusal: ``unavailable``; the outcome may be unknown.
        """


class _Awaited:
    """A waiter that a coroutine waits on."""

    def __init__(self, future: asyncio.Future[Outcome]) -> None:
        self._future = future

    def on_outcome(self, outcome: Outcome) -> None:
        if not self._future.done():
            self._future.set_result(outcome)

    def on_refusal(self, refusal: Refusal) -> None:
        if not self._future.done():
            self._future.set_exception(refusal)


class Committer:
    """The one `WayIn` of a node that is alone, and the last part of any: one commit at a time.

    Attributes:
        publish: told each run of events once it is durable.
        pending_bytes_max: bytes that may wait here.
        on_unresolved: told of each event of which the store does not know whether it is stored.
        pause: asked before each commit; what it returns, if anything, is waited for first.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        cursors: Cursors,
        publish: Callable[[Run], None],
        metrics: LogicMetrics,
        clock: Clock,
        cursor_flush_s: float,
        pending_bytes_max: int,
    ) -> None:
        self._log = log
        self._stored_cursors = cursors
        self.publish = publish
        self._metrics = metrics
        self._clock = clock
        self._cursor_flush_s = cursor_flush_s
        self.pending_bytes_max = pending_bytes_max
        self._busy_bytes = min(BATCH_BYTES_MAX, pending_bytes_max // 8)
        self._arrived: list[Entry] = []
        self._queue = FairQueue()
        self._gathering = Gathering()
        self._waiting_bytes = 0
        self._cursors: dict[RobotName, dict[tuple[DeviceName, ConversationName], int]] = {}
        self._writing: Sequence[Cursor] = ()
        self._settled: asyncio.Future[None] | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flush_due = False
        self._wake = asyncio.Event()
        self._draining = False
        self._has_ended = False
        self.pause: Callable[[], Awaitable[None] | None] = _no_pause
        self.on_unresolved: Callable[[Append], None] = _leave

    def submit(self, append: Append, waiter: Waiter) -> None:
        if self._draining:
            raise Refusal(ErrorCode.UNAVAILABLE, _STOPPING, retry_after_ms=500)
        if self._waiting_bytes > self._busy_bytes:
            self._require_room(append)
        self._arrived.append((append, waiter))
        self._waiting_bytes += len(append.body) + EVENT_BYTES
        self._wake.set()

    async def append(self, append: Append) -> Outcome:
        return await when_awaited(self, append)

    def announce(self, appends: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        """Publish, and count, what was stored with these outcomes."""
        runs = _runs(appends, outcomes)
        for run in runs:
            self.publish(run)
        stored = sum([len(run.events) for run in runs])
        self._metrics.stored.inc(stored)
        if stored < len(outcomes):
            self._count_others(outcomes, stored)

    def move_cursor(
        self, robot: RobotName, device: DeviceName, conv: ConversationName, seq: int
    ) -> None:
        """Note how far a device has come; written soon."""
        cursors = self._cursors.get(robot)
        if cursors is None:
            cursors = self._cursors[robot] = {}
        cursors[device, conv] = max(seq, cursors.get((device, conv), 0))
        if self._flush_timer is None and not self._flush_due:
            loop = asyncio.get_running_loop()
            self._flush_timer = loop.call_later(self._cursor_flush_s, self._on_flush_due)

    async def settle_cursors(self, robot: RobotName) -> None:
        """Return when the cursors that were noted for ``robot`` are written, or could not be."""
        if self._has_ended:
            return
        for _ in range(2):  # the commit that is on its way may have begun before they were noted
            if robot in self._cursors:
                self._flush_due = True
                self._wake.set()
            elif not any(cursor.robot == robot for cursor in self._writing):
                return
            if self._settled is None:
                self._settled = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._settled)

    async def run(self) -> None:
        """Commit until `drain` was asked for and everything is stored.

        Raises:
            StoreFailed: a commit's outcome is unknown; the node must stop.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting_bytes or self._flush_due or (self._draining and self._cursors):
                await self._commit()
            if self._draining:
                self._has_ended = True
                return

    def drain(self) -> None:
        """Take nothing more; `run` ends when what was accepted is stored."""
        self._draining = True
        self._wake.set()

    def _on_flush_due(self) -> None:
        self._flush_timer = None
        self._flush_due = True
        self._wake.set()

    async def _commit(self) -> None:
        pause = self.pause()
        if pause is not None:
            await pause
        await self._gather()
        batch, self._writing = self._take_batch(), self._take_cursors()
        try:
            if batch:
                await self._write(batch)
            if self._writing:
                await self._write_cursors(self._writing)
        except StoreFailed:
            self._draining = True
            refuse(self._queue.entries() + self._arrived, _UNKNOWN)
            raise
        self._writing = ()
        if self._settled is not None:
            self._settled.set_result(None)
            self._settled = None

    async def _gather(self) -> None:
        """Wait for as many as make the commit worth its cost, no longer than `Gathering` says."""
        timer: asyncio.TimerHandle | None = None
        while self._has_room:
            wait_s = self._gathering.wait_s(len(self._arrived), self._clock.monotonic_s())
            if wait_s is None:
                break
            if wait_s:
                timer = timer or asyncio.get_running_loop().call_later(wait_s, self._give_up)
                self._wake.clear()
                await self._wake.wait()
            else:
                await asyncio.sleep(0)
        if timer is not None:
            timer.cancel()

    def _give_up(self) -> None:
        self._gathering.give_up()
        self._wake.set()

    @property
    def _has_room(self) -> bool:
        """Whether more would fit into the next commit, and may come."""
        is_full = len(self._arrived) >= BATCH_EVENTS_MAX or self._waiting_bytes >= BATCH_BYTES_MAX
        return not (is_full or self._queue or self._draining)

    async def _write(self, batch: list[Entry]) -> None:
        began_s = self._clock.monotonic_s()
        appends = [append for append, _ in batch]
        try:
            outcomes = await self._log.append(appends)
        except StoreUnavailable as exc:
            _log.warning("commit.unavailable", extra={"events": len(batch), "reason": str(exc)})
            self._metrics.unavailable.inc(len(batch))
            refuse(batch, _UNAVAILABLE)
            return
        except StoreFailed:
            refuse(batch, _UNKNOWN)
            raise
        self._metrics.commit_seconds.observe(self._clock.monotonic_s() - began_s)
        self._metrics.commit_events.observe(len(batch))
        for entry, outcome in zip(batch, outcomes, strict=True):
            if type(outcome) is Unresolved:
                self.on_unresolved(entry[0])
                refuse([entry], _UNRESOLVED)
            else:
                entry[1].on_outcome(outcome)
        self.announce(appends, outcomes)
        self._gathering.on_answers(len(batch), self._clock.monotonic_s())

    async def _write_cursors(self, cursors: Sequence[Cursor]) -> None:
        try:
            await self._stored_cursors.move_cursors(cursors)
        except StoreUnavailable as exc:
            _log.warning("cursors.put_off", extra={"cursors": len(cursors), "reason": str(exc)})
            for cursor in () if self._draining else cursors:
                self.move_cursor(cursor.robot, cursor.device, cursor.conv, cursor.seq)

    def _count_others(self, outcomes: Sequence[Outcome], stored: int) -> None:
        """Count outcomes of which ``stored`` are of events that were newly stored."""
        dups = sum(type(outcome) is Stored for outcome in outcomes) - stored
        unresolved = sum(type(outcome) is Unresolved for outcome in outcomes)
        self._metrics.duplicates.inc(dups)
        self._metrics.unavailable.inc(unresolved)
        self._metrics.refused.inc(len(outcomes) - stored - dups - unresolved)

    def _require_room(self, append: Append) -> None:
        """Refuse an event of a robot that has more waiting than is still free.

        Source of the idea: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
        switches", 1998. However many flood, what is free then is as much as one of them has waiting.
        """
        self._line_up()
        waiting = self._queue.weight_of(append.sender)
        free = self.pending_bytes_max - self._waiting_bytes
        if waiting + weigh(append) > LITTLE_BYTES:
            free -= self.pending_bytes_max // _RESERVE_PARTS
        if waiting > free:
            raise self.overloaded()

    def overloaded(self) -> Refusal:
        """Return, and count, what a robot is told that has too much waiting."""
        self._metrics.overloaded.inc()
        return Refusal(ErrorCode.UNAVAILABLE, _OVERLOADED, retry_after_ms=500)

    def _line_up(self) -> None:
        for entry in self._arrived:
            self._queue.put(entry)
        self._arrived.clear()

    def _take_batch(self) -> list[Entry]:
        is_few = len(self._arrived) <= BATCH_EVENTS_MAX and self._waiting_bytes <= BATCH_BYTES_MAX
        if is_few and not self._queue:
            batch, self._arrived = self._arrived, []
            self._waiting_bytes = 0
            return batch
        self._line_up()
        batch, withdrawn = self._queue.take(events_max=BATCH_EVENTS_MAX, bytes_max=BATCH_BYTES_MAX)
        self._waiting_bytes = self._queue.weight
        refuse(withdrawn, CHANGED)
        return batch

    def _take_cursors(self) -> list[Cursor]:
        due, self._flush_due = self._flush_due or self._draining, False
        if not due:
            return []
        taken, self._cursors = self._cursors, {}
        return [
            Cursor(robot, device, conv, seq)
            for robot, cursors in taken.items()
            for (device, conv), seq in cursors.items()
        ]


async def when_awaited(way: WayIn, append: Append) -> Outcome:
    """Submit an event and return its outcome, as `WayIn.append` does."""
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    way.submit(append, _Awaited(future))
    return await future


def _no_pause() -> None:
    """Commit at once."""


def _leave(_append: Append) -> None:
    """Leave it to its sender to ask again."""


def refuse(batch: Sequence[Entry], message: str) -> None:
    """Tell all of a batch that it is not known to be stored."""
    refusal = Refusal(ErrorCode.UNAVAILABLE, message, retry_after_ms=1_000)
    for _, waiter in batch:
        waiter.on_refusal(refusal)


def _runs(appends: Sequence[Append], outcomes: Sequence[Outcome]) -> list[Run]:
    """Gather what was newly stored into runs, in the order of first appearance: one for each conversation, or
    more where another node's events came in between."""
    runs: list[Run] = []
    last: dict[ConversationName, Run] = {}
    for append, outcome in zip(appends, outcomes, strict=True):
        if type(outcome) is Stored and not outcome.dup:
            event = outcome.event
            run = last.get(append.conv)
            if run is not None and run.events[-1].seq + 1 == event.seq:
                run.events.append(event)
            else:
                run = last[append.conv] = Run(append.conv, outcome.epoch, [event])
                runs.append(run)
    return runs
