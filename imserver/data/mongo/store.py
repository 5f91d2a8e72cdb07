"""The engine of the data tier for more than one node: a MongoDB replica set.

`MongoStore` gathers the calls that arrive while a batch is on its way into the next one. What is done stands
in `append` (the logs, and why they have no gap), `records` (conversations and their members,
which follow from the logs), `reader`, `registry` (robots); `database` holds the connection
and what every call is promised of it. Knows nothing of other nodes but that they may be there.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

from imserver.core.errors import StoreUnavailable
from imserver.core.key_ring import KeyRing
from imserver.core.model import (
    Append,
    ConversationRecord,
    Cursor,
    GroupSummary,
    Membership,
    Outcome,
    Unresolved,
)
from imserver.data.key_ring_file import KeyRingFile
from imserver.data.mongo.administration import MongoAdministration, MongoBoots
from imserver.data.mongo.append import Appender
from imserver.data.mongo.bodies import Bodies
from imserver.data.mongo.counts import MongoCounts
from imserver.data.mongo.cursors import Cursors
from imserver.data.mongo.database import Database, Session
from imserver.data.mongo.files import MongoContent, MongoFiles
from imserver.data.mongo.nodes import Leases
from imserver.data.mongo.pulse import Pulse
from imserver.data.mongo.reader import Reader
from imserver.data.mongo.records import Records
from imserver.data.mongo.registry import Robots
from imserver.data.mongo.rows import place
from imserver.data.mongo.sealing import FileKeyPlace, MongoSealing
from imserver.data.store import Administration, Boots
from imserver.protocol.names import ConversationName, DeviceName, RobotName

_BATCH_EVENTS_MAX: Final = 1_000
_BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Calls that together have larger bodies go one after the other: a message to MongoDB has 16 MiB at most."""

_PROBE_S: Final = 3.0
_log: Final = logging.getLogger(__name__)


class _Call:
    """Events of a call of `append` that wait for their batch."""

    __slots__ = ("error", "events", "outcomes")

    def __init__(self, events: Sequence[Append]) -> None:
        self.events = events
        self.outcomes: list[Outcome] | None = None
        self.error: StoreUnavailable | None = None


class MongoStore:
    """A `Store` in a MongoDB replica set, which any number of nodes may share. Made by `open`.

    It never raises `StoreFailed`: what became of a write can be looked up, so a doubtful one ends no node.

    Attributes:
        counts: what it has counted.
        abandoned: ends transactions of nodes that have died.
        on_overtaken: as `SharedLog` says.
        files, content: the catalogue of files and their bytes, in the same database.
        file_key: where the key of sealed files is kept.
        sealing: how its bodies are sealed; `MongoSealing.run` brings all of them under the current key.
        leases: this node's word that it is here; `Leases.run` keeps it.
        pulse: by which a database that was set back is recognised; `Pulse.run` has it beat.
    """

    def __init__(self, database: Database, pulse: Pulse, bodies: Bodies) -> None:
        self.counts, self._bodies = MongoCounts(), bodies
        self._database, self.pulse = database, pulse
        self._records = Records(database)
        self._appender = Appender(database, self._records, bodies, self.counts)
        self.on_overtaken: Callable[[ConversationName], None] = _ignore
        self._appender.on_overtaken = self._tell_overtaken
        self._reader = Reader(database, self._records, bodies)
        self._robots = Robots(database)
        self._waiting: list[_Call] = []
        self._turn, self._cursors = asyncio.Lock(), Cursors(database, self._appender)
        self._closed = self._is_released = False
        self.administration: Administration = MongoAdministration(database, self._check)
        self.boots: Boots = MongoBoots(database, self._check)
        self.content, self.abandoned = MongoContent(database), database.abandoned
        self.files = MongoFiles(database, self._records, self._check)
        self.file_key, self.leases = FileKeyPlace(database), Leases(database, _new_name())
        self.sealing = MongoSealing(database, self.leases, bodies)
        self._appender.logs.on_fence = self.sealing.look

        self.note_head = self._appender.logs.note_head
        self.read_after, self.read_page = self._reader.read_after, self._reader.read_page
        self.read_before = self._reader.read_before
        self.read_one = self._reader.read_one
        self.amendments = self._reader.amendments
        self.first_kept, self.bounds = self._reader.first_kept, self._reader.bounds
        self.register = self._robots.register
        self.ensure_robot = self._robots.ensure_robot
        self.robot = self._robots.robot
        self.known_robots = self._robots.known_robots
        self.robots = self._robots.robots
        self.acked = self._cursors.acked

    @classmethod
    async def open(
        cls, url: str, *, mark: Path | None = None, keys: KeyRingFile | None = None
    ) -> Self:
        """Open the store at ``url`` (mongodb://… or mongodb+srv://…), and make it if it is not there.

        Args:
            url: where the set is; the path names the database, ``imserver`` if it names none.
            mark: a file of this node's own, by which it notices that the database was set back.
            keys: with which the bodies of events are sealed; see `imserver.data.sealing`.

        Raises:
            StoreUnavailable: nobody answers, or it is no replica set of MongoDB 6.0 or newer.
            StoreTooNew: a newer version wrote it.
            KeyRingUnusable: the ring lacks a key that something is sealed with, or there is none.
        """
        bodies = Bodies(keys)
        database = await Database.open(url)
        pulse = Pulse(database, mark)
        store = cls(database, pulse, bodies)
        try:
            await store.sealing.begin()
            async with database.session() as session:
                await pulse.begin(session)
                halted = await database.conversations.count_documents(
                    {"seen": {"$exists": True}}, session=session, hint="halted"
                )
        except BaseException:
            await database.aclose()
            raise
        if pulse.is_behind:
            _log.error(
                "store.set_back", extra={"advice": "begin a new epoch if a backup was restored"}
            )
        if halted:
            _log.error("store.halted", extra={"conversations": halted})
        return store

    @property
    def ring(self) -> KeyRing | None:
        """The keys that bodies are sealed with, if they are."""
        return None if self._bodies.seal is None else self._bodies.seal.ring

    async def append(self, events: Sequence[Append]) -> list[Outcome]:
        self._check()
        call = _Call(events)
        self._waiting.append(call)
        async with self._turn:
            while call.outcomes is None and call.error is None:
                await self._commit(self._take_batch())
        if call.error is not None:
            raise StoreUnavailable(str(call.error)) from call.error
        assert call.outcomes is not None
        self.pulse.on_appended()
        return call.outcomes

    async def trim(self, conv: ConversationName, below: int, *, limit: int) -> int:
        async def cut(session: Session) -> int:
            log = (await self._records.logs([conv], session))[conv]
            if log is None:
                return 0
            end = await self._reader.end_of_trim(
                conv, floor=log.floor, below=min(below, log.head), limit=limit, session=session
            )
            if end > log.floor:
                await self._database.raise_fence(session)
                await self._database.conversations.update_one(
                    {"_id": conv}, {"$max": {"floor": end}}, session=session
                )
                await self.files.let_go_below(conv, end, session)
                await self._database.events.delete_many(
                    {"_id": {"$gt": place(conv, 0), "$lt": place(conv, end)}}, session=session
                )
            return max(end, log.floor)

        self._check()
        return await self._database.until_known(cut)

    async def move_cursors(self, cursors: Sequence[Cursor]) -> None:
        self._check()
        await self._cursors.move(cursors)

    async def conversation(self, conv: ConversationName) -> ConversationRecord | None:
        self._check()
        return await self._database.until_known(partial(self._records.conversation, conv))

    async def heads(self, convs: Sequence[ConversationName]) -> dict[ConversationName, int]:
        self._check()
        return await self._database.until_known(partial(self._records.heads, convs))

    async def memberships(self, robot: RobotName, device: DeviceName) -> list[Membership]:
        self._check()
        return await self._database.until_known(partial(self._records.memberships, robot, device))

    async def groups(
        self, *, member: RobotName | None, after: str, limit: int
    ) -> list[GroupSummary]:
        self._check()
        return await self._database.until_known(
            partial(self._records.groups, member=member, after=after, limit=limit)
        )

    async def note_loss(self, conv: ConversationName, seen: int) -> bool:
        async def halt(session: Session) -> bool:
            log = (await self._records.logs([conv], session))[conv]
            if log is None or seen <= log.head:
                return False
            await self._database.conversations.update_one(
                {"_id": conv}, {"$max": {"seen": seen}}, session=session
            )
            await self._database.raise_fence(session)
            return True

        self._check()
        if not self.pulse.is_behind:
            return False
        async with self._turn:
            self._appender.logs.forget()
            return await self._database.until_known(halt)

    async def probe(self) -> None:
        self._check()
        async with self._database.session(_PROBE_S) as session:
            await self._database.meta.update_one(
                {"_id": "probe"}, {"$inc": {"n": 1}}, upsert=True, session=session
            )

    async def aclose(self) -> None:
        self._closed = True
        async with self._turn:
            if not self._is_released:
                self._is_released = True
                await self.pulse.end()
                await self.leases.end()
                await self._database.aclose()

    def _tell_overtaken(self, conv: ConversationName) -> None:
        self.on_overtaken(conv)

    def _check(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    def _take_batch(self) -> list[_Call]:
        count = events = size = 0
        for call in self._waiting:
            events += len(call.events)
            size += sum([len(event.body) for event in call.events])
            if count and (events > _BATCH_EVENTS_MAX or size > _BATCH_BYTES_MAX):
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    async def _commit(self, calls: list[_Call]) -> None:
        events = [event for call in calls for event in call.events]
        try:
            outcomes = await self._appender.append(events)
        except StoreUnavailable as exc:
            for call in calls:
                call.error = exc
        except BaseException:
            # Cancelled: the callers whose events went along must not wait for ever.
            self._appender.logs.forget()
            for call in calls:
                call.outcomes = [Unresolved()] * len(call.events)
            raise
        else:
            for call in calls:
                call.outcomes = outcomes[: len(call.events)]
                del outcomes[: len(call.events)]


def _ignore(_conv: ConversationName) -> None:
    """Stand in until somebody wants to know."""


def _new_name() -> str:
    return f"node-{secrets.token_hex(4)}"
