"""The connection to MongoDB: concerns, collections, schema, and sessions that read what this process wrote.

What holds for every call, stated here once and not left to the URL or the server's defaults: writes wait
for a majority and its journal, reads see only what a majority has. The driver never repeats a write by
itself: its own bookkeeping for that was once found to run a write twice (Jepsen, MongoDB 4.2.6), so who
writes finds out what became of it. Reads are repeated, since that is always safe.

A majority read may be answered by a primary that was elected a moment ago and does not yet know how far the
majority is. So each call is a causally consistent session that begins at the last time this process has seen.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeAlias, TypeVar

import pymongo
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from bson.errors import BSONError
from bson.int64 import Int64
from bson.timestamp import Timestamp
from pymongo import AsyncMongoClient, IndexModel
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError, InvalidURI, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from imserver.core.errors import StoreTooNew, StoreUnavailable
from imserver.data.mongo.abandoned import APP_NAME, Abandoned
from imserver.data.mongo.rows import Document
from imserver.data.mongo.succession import Succession
from imserver.protocol.events import AMENDING_KINDS

Collection: TypeAlias = AsyncCollection[Document]
Session: TypeAlias = AsyncClientSession
T = TypeVar("T")

SCHEMA_VERSION: Final = 1
READ_TIMEOUT_S: Final = 8.0
"""After which a call that only reads gives up; an election of a new primary takes less, as a rule."""

WRITE_TIMEOUT_S: Final = 10.0
"""How long a write may look for its outcome, a change of primary included."""

_SELECTION_MS: Final = 5_000
_HEARTBEAT_MS: Final = 1_000
"""So often a member says how it is. One that has missed that and is silent for `_SELECTION_MS` besides is
given up, with all calls that wait for it; by the driver's default of ten seconds that takes fifteen."""

_PAUSE_S: Final = 0.05
_LAST_TRY_S: Final = 0.2
_CONFLICT: Final = 112
_DATABASE: Final = "imserver"
_OLDEST: Final = (6, 0)
_MAJORITY: Final = WriteConcern(w="majority", j=True)
_ANSWERS: Final[CodecOptions[Document]] = CodecOptions(unicode_decode_error_handler="replace")
"""A refusal quotes what it refuses, and may cut it within a character."""

_log: Final = logging.getLogger(__name__)


class NoRoom(StoreUnavailable):
    """The disk is full: another try would find the same."""


class _PlainInt(TypeDecoder):
    """Large integers come as a class of the driver's own, which no other encoder knows."""

    bson_type = Int64

    def transform_bson(self, value: int) -> int:
        return int(value)


def _where(field: str, condition: Any) -> Document:
    return {"partialFilterExpression": {field: condition}}


_IS_THERE: Final = {"$exists": True}
_INDEXES: Final = {
    "events": [
        IndexModel([("_id.c", 1), ("sender", 1), ("cid", 1)], name="cid", unique=True),
        IndexModel("_id.c", name="unapplied", **_where("change", _IS_THERE)),
        IndexModel("file", name="refers", **_where("file", _IS_THERE)),
        IndexModel(
            [("_id.c", 1), ("ref", 1)],
            name="amending",
            **_where("kind", {"$in": sorted(AMENDING_KINDS)}),
        ),
    ],
    "conversations": [
        IndexModel("members.r", name="member"),
        IndexModel("seen", name="halted", **_where("seen", _IS_THERE)),
    ],
    "cursors": [IndexModel("_id.r", name="robot")],
    "robots": [
        IndexModel("token", name="token", unique=True, **_where("token", _IS_THERE)),
        IndexModel("revoked_ms", name="revoked", **_where("revoked_ms", _IS_THERE)),
    ],
    "files": [
        IndexModel("owner", name="owner"),
        IndexModel([("digest", 1), ("size", 1)], name="content"),
        IndexModel("expires_ms", name="expiry"),
    ],
    "blobs": [IndexModel("uses", name="dropped", **_where("uses", 0))],
    "acts": [IndexModel("number", name="number", unique=True), IndexModel("at_ms", name="at")],
    "nodes": [IndexModel("until", name="ended", expireAfterSeconds=24 * 3600)],
    "tokens": [IndexModel("robot", name="robot"), IndexModel("expires_ms", name="expiry")],
}
"""Beside those on ``_id``. The first one is what makes a send exactly once. Its order allows for a cluster
that is sharded by conversation: a unique index must begin with the key of the shards."""


class Database:
    """One deployment's database. Made by `open`.

    Attributes:
        name: its own, in the set.
        events: the logs: ``_id`` {c: conversation, s: seq}.
        events_of_one_moment: the same, for reads that see all of it as of one moment.
        conversations: what follows from the logs: epoch, members, floor.
        cursors: ``_id`` {c: conversation, r: robot, d: device}.
        robots: by name, each with the token it registered with.
        spent_tokens: tokens that were spent in the store this one was filled from.
        acts: administrative acts, by their ids.
        tokens: tokens on record, by their ids.
        boots: robots, each with the last starts of its devices.
        files: by their ids.
        blobs: how many files have each (none: its bytes may go), and which run writes to it, if any.
        segments: the bytes, ``_id`` {b: blob, i: index}.
        owners: robots, touched by whatever must not happen twice at a time for one of them.
        nodes: the servers that have the store open, each with its lease.
        meta: single documents: ``acts``, ``store``, ``fence``, ``pulse``, ``sealing``, ``file_key``.
        epoch: the epoch of conversations that begin now.
        abandoned: ends transactions that nobody leads.
    """

    def __init__(self, client: AsyncMongoClient[Document], succession: Succession) -> None:
        self.client = client
        self._succession = succession
        self.name: Final[str] = client.get_default_database(_DATABASE).name
        options: Any = {
            "codec_options": CodecOptions(type_registry=TypeRegistry([_PlainInt()])),
            "read_preference": ReadPreference.PRIMARY,
            "write_concern": _MAJORITY,
        }
        self._db = client.get_database(self.name, read_concern=ReadConcern("majority"), **options)
        self._as_of_one_moment = client.get_database(
            self.name, read_concern=ReadConcern("snapshot"), **options
        )
        self.events: Collection = self._db.events
        self.events_of_one_moment: Collection = self._as_of_one_moment.events
        self.conversations: Collection = self._db.conversations
        self.cursors: Collection = self._db.cursors
        self.robots: Collection = self._db.robots
        self.spent_tokens: Collection = self._db.spent_tokens
        self.acts: Collection = self._db.acts
        self.tokens: Collection = self._db.tokens
        self.boots: Collection = self._db.boots
        self.files: Collection = self._db.files
        self.blobs: Collection = self._db.blobs
        self.segments: Collection = self._db.segments
        self.owners: Collection = self._db.owners
        self.nodes: Collection = self._db.nodes
        self.meta: Collection = self._db.meta
        self.abandoned = Abandoned(client)
        self.epoch = ""
        self._seen: tuple[Timestamp, Any] | None = None

    @classmethod
    async def open(cls, url: str, *, moving: bool = False, existing: bool = False) -> Self:
        """Connect, and make what is missing: indexes, the schema's version. Several nodes may do so at once.

        With ``moving`` it is no store before a move into it is finished. With ``existing`` it must be one.

        Raises:
            StoreUnavailable: the URL is none, nobody answers there, it is no replica set, or there is no
            store. StoreTooNew: a newer version wrote the database.
        """
        if not url.startswith(("mongodb://", "mongodb+srv://")):
            raise StoreUnavailable(
                "this is no URL of a MongoDB: it must begin with mongodb:// or mongodb+srv://"
            )
        succession = Succession()
        try:
            client: AsyncMongoClient[Document] = AsyncMongoClient(
                url,
                retryWrites=False,
                retryReads=True,
                serverSelectionTimeoutMS=_SELECTION_MS,
                connectTimeoutMS=_SELECTION_MS,
                heartbeatFrequencyMS=_HEARTBEAT_MS,
                appname=APP_NAME,
                event_listeners=[succession],
                tz_aware=True,
            )
        except (InvalidURI, PyMongoError, ValueError, TypeError) as exc:
            raise StoreUnavailable(f"this is no URL of a MongoDB: {exc}") from exc
        database = cls(client, succession)
        try:
            await database._prepare(moving, existing)
        except BaseException:
            await client.close()
            raise
        return database

    @asynccontextmanager
    async def session(self, timeout_s: float = READ_TIMEOUT_S) -> AsyncIterator[Session]:
        """Enter a session for the calls of the body, which sees every write that this process knows of.

        Raises:
            StoreUnavailable: the database could not be asked, or not in time; what a write of the body did is
                unknown then.
            DuplicateKeyError: as the body raised it; nothing was written.
        """
        try:
            with pymongo.timeout(timeout_s):
                async with (
                    self._succession.heeded(),
                    self.client.start_session(causal_consistency=True) as session,
                ):
                    if self._seen is not None:
                        moment, proof = self._seen
                        session.advance_cluster_time(proof)
                        session.advance_operation_time(moment)
                    try:
                        yield session
                    finally:
                        self._note(session)
        except DuplicateKeyError:
            raise  # an answer, and a definite one
        except (PyMongoError, BSONError) as exc:
            raise StoreUnavailable(f"MongoDB cannot be asked now: {_brief(exc)}") from exc

    async def snapshot(
        self, pipeline: list[Document], session: Session, *, of: str | None = None
    ) -> list[Document]:
        """Return what an aggregation of the collection ``of`` (or of none) answers, all as of one moment."""
        source = self._as_of_one_moment if of is None else self._as_of_one_moment[of]
        return await (await source.aggregate(pipeline, session=session)).to_list()

    @asynccontextmanager
    async def transaction(self, session: Session) -> AsyncIterator[None]:
        """Do all that the body does in one transaction, as of one moment, or nothing of it."""
        concerns: Any = {"read_concern": ReadConcern("snapshot"), "write_concern": _MAJORITY}
        async with await session.start_transaction(**concerns):
            yield

    async def until_known(self, write: Callable[[Session], Awaitable[T]]) -> T:
        """Run what may be repeated, a write or what comes with one, until its outcome is known.

        Raises:
            StoreUnavailable: it did not become known in time; to be asked again.
        """
        deadline = asyncio.get_running_loop().time() + WRITE_TIMEOUT_S
        while True:
            left = deadline - asyncio.get_running_loop().time()
            try:
                async with self.session(max(left, _LAST_TRY_S)) as session:
                    return await write(session)
            except NoRoom:
                raise
            except StoreUnavailable as exc:
                if left <= _PAUSE_S:
                    raise
                if isinstance(exc.__cause__, OperationFailure) and exc.__cause__.code == _CONFLICT:
                    await self.abandoned.look()
            await asyncio.sleep(_PAUSE_S)

    async def insert_events(self, documents: list[Document], session: Session) -> Document:
        """Insert events in order, up to the first that is refused, and return the server's answer.

        It is the command itself, in one message: the driver's `insert_many` looks at each document in Python.
        """
        return await self._db.command(
            "insert",
            self.events.name,
            documents=documents,
            ordered=True,
            writeConcern=_MAJORITY.document,
            session=session,
            codec_options=_ANSWERS,
        )

    async def fence(self, session: Session) -> int:
        """Return the fence, a number that rises before anything is done that a log does not show."""
        found = await self.meta.find_one({"_id": "fence"}, session=session)
        return int(found["n"]) if found else 0

    async def raise_fence(self, session: Session) -> None:
        """Let every node look again before it trusts what it remembers of the logs."""
        await self.meta.update_one(
            {"_id": "fence"}, {"$inc": {"n": 1}}, upsert=True, session=session
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self.client.close()

    def _note(self, session: Session) -> None:
        moment, proof = session.operation_time, session.cluster_time
        if moment is not None and (self._seen is None or moment > self._seen[0]):
            self._seen = (moment, proof)

    async def _prepare(self, moving: bool, existing: bool) -> None:
        async with self.session(3 * _SELECTION_MS / 1_000) as session:
            await self._require_replica_set()
            if existing and await self.meta.find_one({"_id": "store"}, session=session) is None:
                raise StoreUnavailable("there is no store in this database; is its name right?")
            await self._join_schema(session, moving)
            await self._make_indexes(session)

    async def _require_replica_set(self) -> None:
        hello = await self.client.admin.command("hello")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise StoreUnavailable(
                "this MongoDB is no replica set; start mongod with --replSet, and initiate the set (one "
                "member is enough to begin with)"
            )
        build = await self.client.admin.command("buildInfo")
        if tuple(build["versionArray"][:2]) < _OLDEST:
            raise StoreUnavailable(f"MongoDB 6.0 or newer is needed; this is {build['version']}")
        _log.info("store.opened", extra={"mongodb": build["version"], "schema": SCHEMA_VERSION})

    async def _join_schema(self, session: Session, moving: bool) -> None:
        first: Document = {"schema": SCHEMA_VERSION, "epoch": secrets.token_hex(8)}
        if moving:
            first["moving"] = True
        try:
            await self.meta.update_one(
                {"_id": "store"}, {"$setOnInsert": first}, upsert=True, session=session
            )
        except DuplicateKeyError:
            _log.debug("store.made_by_another_node")
        found = await self.meta.find_one({"_id": "store"}, session=session)
        if found is None:
            raise StoreUnavailable("the database was dropped while it was opened; start again")
        if found["schema"] > SCHEMA_VERSION:
            raise StoreTooNew(
                f"the database is of schema {found['schema']}, and this version of imserver knows up to "
                f"{SCHEMA_VERSION}: use a newer one"
            )
        if found.get("moving") and not moving:
            raise StoreUnavailable(
                "a move into this database broke off; drop it, and run `imserver migrate` again"
            )
        self.epoch = found["epoch"]

    async def _make_indexes(self, session: Session) -> None:
        """Make what is missing; an index that is there already is left as it is."""
        for collection, indexes in _INDEXES.items():
            await self._db[collection].create_indexes(indexes, session=session)


def _brief(error: Exception) -> str:
    """Return what the driver says without what it appends: its timeouts, and all it knows of the topology."""
    said = str(error).partition(", Timeout: ")[0]
    return re.sub(r" \(configured timeouts: [^)]*\)", "", said)
