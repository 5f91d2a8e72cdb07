"""Brings events into the store: whatever arrives while one commit is on its way goes into the next.

So a batch of one is committed at once when the node is idle, and batches grow by themselves under load,
without a timer. Cursors ride along with the next commit, or go alone when none came for a while.

After each commit, in this order: every sender gets its outcome, then the committed events are published,
conversation by conversation. Nothing is published before its commit, and a commit that failed with an
unknown outcome ends the node: `run` raises, nothing is tried again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from imserver.core.clock import Clock
from imserver.core.errors import Refusal, StoreFailed, StoreUnavailable
from imserver.core.model import Append, Cursor, Outcome, Run, Stored
from imserver.data.store import EventLog
from imserver.logic.metrics import LogicMetrics
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName, DeviceName, RobotName

_log = logging.getLogger("imserver.committer")

BATCH_EVENTS_MAX = 512
BATCH_BYTES_MAX = 4 * 1024 * 1024
_UNAVAILABLE = "the store takes no writes now; send the same cid again"
_UNKNOWN = "the store failed and whether this was stored is unknown; send the same cid again"
_STOPPING = "this node stops and takes no more writes; reconnect and send the same cid again"
_OVERLOADED = "more is waiting for the store than it can take; send the same cid again"


class Waiter(Protocol):
    """Whoever asked for an append; told exactly once, must not wait."""

    def on_outcome(self, outcome: Outcome) -> None:
        """The commit is done: the event is durable, or definitely not stored."""

    def on_refusal(self, refusal: Refusal) -> None:
        """The append failed; with ``unavailable`` its outcome may be unknown."""


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
    """The one way into the log on this node; one commit at a time."""

    def __init__(
        self,
        log: EventLog,
        *,
        publish: Callable[[Run], None],
        metrics: LogicMetrics,
        clock: Clock,
        cursor_flush_s: float,
        pending_bytes_max: int,
    ) -> None:
        self._log = log
        self._publish = publish
        self._metrics = metrics
        self._clock = clock
        self._cursor_flush_s = cursor_flush_s
        self._pending_bytes_max = pending_bytes_max
        self._pending: list[tuple[Append, Waiter]] = []
        self._pending_bytes = 0
        self._cursors: dict[RobotName, dict[tuple[DeviceName, ConversationName], int]] = {}
        self._writing: Sequence[Cursor] = ()
        self._settled: asyncio.Future[None] | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flush_due = False
        self._wake = asyncio.Event()
        self._draining = False

    def submit(self, append: Append, waiter: Waiter) -> None:
        """Put an event on its way; ``waiter`` learns what became of it.

        Raises:
            Refusal: ``unavailable``, definitely not stored: too much is waiting already, or the node stops.
        """
        if self._draining or self._pending_bytes > self._pending_bytes_max:
            message = _STOPPING if self._draining else _OVERLOADED
            raise Refusal(ErrorCode.UNAVAILABLE, message, retry_after_ms=500)
        self._pending.append((append, waiter))
        self._pending_bytes += len(append.body)
        self._wake.set()

    async def append(self, append: Append) -> Outcome:
        """Store one event and return its outcome.

        Raises:
            Refusal: ``unavailable``; the outcome may be unknown.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.submit(append, _Awaited(future))
        return await future

    def move_cursor(
        self, robot: RobotName, device: DeviceName, conv: ConversationName, seq: int
    ) -> None:
        """Note how far a device has come; written with the next commit, soon."""
        cursors = self._cursors.get(robot)
        if cursors is None:
            cursors = self._cursors[robot] = {}
        cursors[device, conv] = max(seq, cursors.get((device, conv), 0))
        if self._flush_timer is None and not self._flush_due:
            loop = asyncio.get_running_loop()
            self._flush_timer = loop.call_later(self._cursor_flush_s, self._on_flush_due)

    async def settle_cursors(self, robot: RobotName) -> None:
        """Return when the cursors that were noted for ``robot`` are written, or could not be."""
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
            while self._pending or self._flush_due or (self._draining and self._cursors):
                await self._commit()
            if self._draining:
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
        batch, cursors = self._take_batch(), self._take_cursors()
        if batch or cursors:
            self._writing = cursors
            await self._write(batch, cursors)
        self._writing = ()
        if self._settled is not None:
            self._settled.set_result(None)
            self._settled = None

    async def _write(self, batch: list[tuple[Append, Waiter]], cursors: list[Cursor]) -> None:
        began_s = self._clock.monotonic_s()
        try:
            outcomes = await self._log.append([append for append, _ in batch], cursors)
        except StoreUnavailable as exc:
            _log.warning("commit.unavailable", extra={"events": len(batch), "reason": str(exc)})
            self._metrics.unavailable.inc(len(batch))
            if not self._draining:
                self._keep_cursors(cursors)
            _refuse(batch, _UNAVAILABLE)
            return
        except StoreFailed:
            self._draining = True
            rest, self._pending = self._pending, []
            _refuse(batch + rest, _UNKNOWN)
            raise
        self._metrics.commit_seconds.observe(self._clock.monotonic_s() - began_s)
        self._metrics.commit_events.observe(len(batch))
        for (_, waiter), outcome in zip(batch, outcomes, strict=True):
            waiter.on_outcome(outcome)
        for run in _runs(batch, outcomes):
            self._publish(run)
        self._count(outcomes)

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        stored = sum(type(outcome) is Stored for outcome in outcomes)
        dups = sum(type(outcome) is Stored and outcome.dup for outcome in outcomes)
        self._metrics.stored.inc(stored - dups)
        self._metrics.duplicates.inc(dups)
        self._metrics.refused.inc(len(outcomes) - stored)

    def _take_batch(self) -> list[tuple[Append, Waiter]]:
        if len(self._pending) <= BATCH_EVENTS_MAX and self._pending_bytes <= BATCH_BYTES_MAX:
            batch, self._pending = self._pending, []
            self._pending_bytes = 0
            return batch
        count = size = 0
        for append, _ in self._pending[:BATCH_EVENTS_MAX]:
            size += len(append.body)
            if count and size > BATCH_BYTES_MAX:
                size -= len(append.body)
                break
            count += 1
        batch, self._pending = self._pending[:count], self._pending[count:]
        self._pending_bytes -= size
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

    def _keep_cursors(self, cursors: Sequence[Cursor]) -> None:
        for cursor in cursors:
            newer = self._cursors.get(cursor.robot, {}).get((cursor.device, cursor.conv), 0)
            if newer < cursor.seq:
                self.move_cursor(cursor.robot, cursor.device, cursor.conv, cursor.seq)


def _refuse(batch: Sequence[tuple[Append, Waiter]], message: str) -> None:
    refusal = Refusal(ErrorCode.UNAVAILABLE, message, retry_after_ms=1_000)
    for _, waiter in batch:
        waiter.on_refusal(refusal)


def _runs(batch: Sequence[tuple[Append, Waiter]], outcomes: Sequence[Outcome]) -> list[Run]:
    """Gather what was newly stored into one run per conversation, in the order of first appearance."""
    events: dict[ConversationName, tuple[str, list[Event]]] = {}
    for (append, _), outcome in zip(batch, outcomes, strict=True):
        if type(outcome) is Stored and not outcome.dup:
            found = events.get(append.conv)
            if found is None:
                events[append.conv] = (outcome.epoch, [outcome.event])
            else:
                found[1].append(outcome.event)
    return [Run(conv, epoch, stored) for conv, (epoch, stored) in events.items()]
