"""Puts batches of events into the logs in MongoDB, beside any number of other nodes that do the same.

How it goes. Each event is given the place after the last one that this node knows of its log, and the batch
goes in with one ordered insert. The unique index on ``_id``, (conversation, seq), is the only arbiter: if
another node took a place, or the unique index on the cid finds that an event is there already, the insert
stops at that document. What came before it is stored; for the rest the logs and the cids are read again, and
the rest is planned and inserted anew. Whoever loses a place has been overtaken, so somebody always gets on.

Why there is no gap. Place s is only asked for when s-1 is known to be stored by a majority, or stands before
it in the same ordered insert. What a primary takes in and loses again, since no majority had it, is always a
suffix of what it took in: with s-1, s goes too.

Why no seq gets a second event. A place that was taken stays taken, but for one case: retention deletes it. A
node that stood still for long may then ask for a place that is free *again*. So whoever deletes raises a
number before that, the fence, and whoever has inserted reads it before anything is acked: where it rose, the
floors of the logs are read, and an event that landed below one is taken out and stored anew.

An insert whose outcome is unknown (a connection broke, a primary stepped down, nobody confirmed in time) is
looked for by its cids, in what a majority has, and tried again where it is not found. If the time is up
before that settles it, the answer is `Unresolved`. If it lands after all, it lands after what it was planned
after, or not at all, since its places are taken.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bson.errors import BSONError
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError

from imserver.core.errors import StoreUnavailable
from imserver.core.model import Append, Outcome, Stored, Unresolved
from imserver.data.mongo.bodies import Bodies
from imserver.data.mongo.counts import MongoCounts
from imserver.data.mongo.database import WRITE_TIMEOUT_S, Database, Session
from imserver.data.mongo.known_logs import KnownLogs
from imserver.data.mongo.plan import (
    Insert,
    Key,
    Log,
    Plan,
    PlanNeedsCids,
    key_of,
    make_plan,
    repeated,
)
from imserver.data.mongo.records import Records
from imserver.data.mongo.rows import Document
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName

_ROUND_S: Final = 6.0
_PAUSE_S: Final = 0.05
_SENDERS_MAX: Final = 100
_DUPLICATE_KEY: Final = 11_000
_log: Final = logging.getLogger(__name__)


class _OutcomeUnknown(Exception):
    """An insert was begun, and what became of it is not known."""


class _Batch:
    """A batch of events on its way.

    Attributes:
        events: all of it.
        outcomes: what became of each event; known before ``begin``.
        may_be_stored: some of it is stored by now, or may be.
        stored: those of its cids that were found; None as long as none was looked for.
        told: the cids that were answered as new: what has one of them again is a repeat.
        changed: conversations whose members it may have changed.
    """

    def __init__(self, events: Sequence[Append]) -> None:
        self.events = events
        self.outcomes: list[Outcome] = [Unresolved()] * len(events)
        self.begin = 0
        self.stored: dict[Key, Event] | None = None
        self.may_be_stored = False
        self._begun: list[Insert] = []
        self._own: set[tuple[Key, int]] = set()
        self.told: set[Key] = set()
        self.changed: set[ConversationName] = set()

    def rest(self) -> list[tuple[int, Append]]:
        """Return the events whose outcomes are not known, with their places in the batch."""
        return list(enumerate(self.events[self.begin :], self.begin))

    def note_own(self, inserts: Sequence[Insert]) -> None:
        """Take note that this batch has stored these, or may have."""
        self.may_be_stored = self.may_be_stored or bool(inserts)
        self._begun.extend(inserts)
        self.changed.update([i.asked.conv for i in inserts if "change" in i.document])

    def settle(self, plan: Plan, end: int) -> None:
        """Take in that a plan was carried out up to ``end``, the index of the first event that is left."""
        done = [insert for insert in plan.inserts if insert.nth < end]
        for insert in done:
            self.outcomes[insert.nth] = insert.outcome
        if end < len(self.events):  # else nothing is left that could be a repeat
            self.told.update([key_of(insert.asked) for insert in done])
        for index, outcome in plan.outcomes.items():
            if index < end:
                self.outcomes[index] = self._found(index, outcome)
        for index, first in plan.repeats.items():
            if index < end:
                self.outcomes[index] = self._repeat(index, first)
        self.begin = end

    def _found(self, index: int, outcome: Outcome) -> Outcome:
        """Return the outcome of an event that needed no insert: new all the same if this batch stored it, and
        it is the first of its cid."""
        if not isinstance(outcome, Stored):
            return outcome
        key = key_of(self.events[index])
        is_new = key not in self.told and self._is_own(key, outcome.event.seq)
        self.told.add(key)
        return Stored(outcome.epoch, outcome.event, dup=not is_new)

    def _is_own(self, key: Key, seq: int) -> bool:
        self._own.update([(key_of(i.asked), i.outcome.event.seq) for i in self._begun])
        self._begun.clear()
        return (key, seq) in self._own

    def _repeat(self, index: int, first: int) -> Outcome:
        outcome = self.outcomes[first]
        assert isinstance(outcome, Stored)
        return repeated(outcome.epoch, self.events[index], outcome.event)


class Appender:
    """Appends batches, one at a time: its caller sees to that.

    Attributes:
        logs: what is remembered of the logs.
        on_overtaken: told the conversation in which another node has taken a place that was planned for.
    """

    def __init__(
        self, database: Database, records: Records, bodies: Bodies, counts: MongoCounts
    ) -> None:
        self._database = database
        self._records = records
        self._bodies = bodies
        self._counts = counts
        self.logs: Final = KnownLogs(database, records)
        self.on_overtaken: Callable[[ConversationName], None] = _ignore

    async def append(self, events: Sequence[Append]) -> list[Outcome]:
        """Store events as `EventLog.append` promises.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WRITE_TIMEOUT_S
        batch = _Batch(events)
        while batch.begin < len(events):
            try:
                await self._round(batch, deadline - loop.time())
                continue
            except _OutcomeUnknown as exc:
                reason = str(exc)
            except StoreUnavailable as exc:
                if not batch.may_be_stored:
                    raise
                reason = str(exc)
            self.logs.forget()
            self._look_again(batch)
            if loop.time() + _PAUSE_S >= deadline:
                _log.warning("append.unresolved", extra={"reason": reason})
                break
            await asyncio.sleep(_PAUSE_S)
        await self._do_changes(batch.changed)
        return batch.outcomes

    async def heads(
        self, least: Mapping[ConversationName, int], session: Session
    ) -> dict[ConversationName, int | None]:
        """Return the heads of logs, None without a log; they are read again where less than ``least`` is
        known."""
        heads: dict[ConversationName, int | None] = {}
        for conv, seq in least.items():
            log = self.logs.get(conv)
            heads[conv] = log.head if log is not None and log.head >= seq else None
        unknown = [conv for conv, head in heads.items() if head is None]
        heads.update(await self._records.heads(unknown, session))
        return heads

    async def _round(self, batch: _Batch, left_s: float) -> None:
        """Bring a batch further: to its end, or to the next event that cannot be stored as planned."""
        if left_s <= 0:
            raise StoreUnavailable("other nodes append to the same conversations without a pause")
        self._bodies.require_in()
        async with self._database.session(min(left_s, _ROUND_S)) as session:
            rest = batch.rest()
            if batch.stored is not None:
                # Before the logs are read: floors that are read later tell which of these are let go.
                batch.stored = await self._stored(rest, session)
            logs = await self.logs.read({asked.conv for _, asked in rest}, session)
            if batch.stored:
                await self._drop_those_let_go(batch.stored, logs, session)
            try:
                plan = make_plan(rest, logs, batch.stored, epoch=self._database.epoch)
            except PlanNeedsCids:
                self._look_again(batch)
                return
            end = await self._carry_out(batch, plan, session)
        batch.settle(plan, end)
        if end < len(batch.events):
            self._look_again(batch)

    def _look_again(self, batch: _Batch) -> None:
        """Let the next round read the logs and cids of the rest."""
        batch.stored = {}
        for _, asked in batch.rest():
            self.logs.drop(asked.conv)

    async def _carry_out(self, batch: _Batch, plan: Plan, session: Session) -> int:
        """Insert what a plan says; return the index of the first event that it does not hold for."""
        end = len(batch.events)
        if not plan.inserts:
            return end
        fence = self.logs.fence
        count = await self._insert(batch, plan.inserts, session)
        stored, left = plan.inserts[:count], plan.inserts[count:]
        self.logs.remember(stored, fence)
        if left:
            end = left[0].nth
        passed = await self.logs.passed_by_floor(stored, session)
        if passed:
            end = min(end, passed[0].nth)
            self._counts.taken_back += len(passed)
            for insert in passed:
                await self._delete(insert.document["_id"], session)
        return end

    async def _insert(self, batch: _Batch, inserts: list[Insert], session: Session) -> int:
        """Insert documents in order, up to the first that a unique index refuses; return how many.

        Raises:
            _OutcomeUnknown: some, all or none are stored.
            StoreUnavailable: none is stored.
        """
        documents = [self._bodies.document_of(insert) for insert in inserts]
        try:
            answer = await self._database.insert_events(documents, session)
            count = self._count_of(answer, inserts)
        except ServerSelectionTimeoutError as exc:
            raise StoreUnavailable(f"no primary of the MongoDB set answers: {exc}") from exc
        except asyncio.CancelledError:
            # Perhaps only this call ends, since another primary was elected.
            self._note_unknown(batch, inserts)
            raise
        except (PyMongoError, BSONError, _OutcomeUnknown) as exc:
            self._note_unknown(batch, inserts)
            raise _OutcomeUnknown(str(exc)) from exc
        batch.note_own(inserts[:count])
        return count

    def _note_unknown(self, batch: _Batch, inserts: list[Insert]) -> None:
        batch.note_own(inserts)
        self._counts.unknown += 1

    def _count_of(self, answer: Document, inserts: list[Insert]) -> int:
        """Return how many were stored, by the server's answer: all, or those before the first that a unique
        index refused.

        Raises:
            _OutcomeUnknown: the answer is another one.
        """
        unconfirmed, refused = answer.get("writeConcernError"), answer.get("writeErrors")
        if not unconfirmed and not refused:
            return len(inserts)
        [error] = refused or [{}]
        if unconfirmed or error.get("code") != _DUPLICATE_KEY:
            raise _OutcomeUnknown(f"the insert was answered by {unconfirmed or error}")
        index = int(error["index"])
        if "_id" in error.get("keyPattern", ()):
            self._counts.overtaken += 1
            self.on_overtaken(inserts[index].asked.conv)
        else:
            self._counts.repeated += 1
        return index

    async def _stored(self, rest: list[tuple[int, Append]], session: Session) -> dict[Key, Event]:
        """Return those of the events that are stored, by a majority."""
        cids: dict[tuple[str, str], list[str]] = {}
        for _, asked in rest:
            cids.setdefault((asked.conv, asked.sender), []).append(asked.cid)
        wanted = [
            {"_id.c": conv, "sender": sender, "cid": {"$in": those}}
            for (conv, sender), those in cids.items()
        ]
        found: dict[Key, Event] = {}
        for start in range(0, len(wanted), _SENDERS_MAX):
            some = {"$or": wanted[start : start + _SENDERS_MAX]}
            async for document in self._database.events.find(some, session=session):
                event = self._bodies.event_to_compare(document)
                found[document["_id"]["c"], event.sender, event.cid] = event
        return found

    async def _drop_those_let_go(
        self,
        stored: dict[Key, Event],
        logs: dict[ConversationName, Log | None],
        session: Session,
    ) -> None:
        """Forget, and delete, events below the floor of their log: retention has passed them."""
        for key, event in list(stored.items()):
            conv = ConversationName(key[0])
            log = logs[conv]
            if log is not None and event.seq < log.floor:
                del stored[key]
                await self._delete({"c": conv, "s": event.seq}, session)

    async def _delete(self, place: dict[str, object], session: Session) -> None:
        await self._database.events.delete_one({"_id": place}, session=session)

    async def _do_changes(self, convs: set[ConversationName]) -> None:
        """Bring the stored changes of members into the records; if that fails, who reads does it."""
        if not convs:
            return
        for conv in convs:
            self.logs.drop(conv)
        try:
            async with self._database.session() as session:
                await self._records.catch_up(session, convs)
        except StoreUnavailable as exc:
            _log.warning("append.changes_left", extra={"reason": str(exc)})


def _ignore(_conv: ConversationName) -> None:
    """Stand in until somebody wants to know."""
