"""Looks through a store in MongoDB for what must not be: what ``imserver check --store`` runs.

All questions are answered as of one moment, beside the servers that run on it. That documents are what was
written is MongoDB's business (checksums of blocks); bodies that are sealed, and files, are looked into here.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import pymongo
from bson.errors import BSONError
from pymongo.errors import PyMongoError

from imserver.core.errors import SealBroken, StoreCorrupt, StoreUnavailable
from imserver.core.files import SEGMENT_BYTES, BlobId, thumbnail_of
from imserver.core.key_ring import OVERHEAD, KeyRing
from imserver.data.findings import Report, Tally
from imserver.data.mongo.database import Collection, Database, Session
from imserver.data.mongo.files import MongoContent
from imserver.data.mongo.records import Records
from imserver.data.mongo.rows import Document, between, conv_of, event_of
from imserver.data.mongo.sealing import FileKeyPlace, read_state
from imserver.data.sealed_files import FileKey, SealedContent, is_sealed
from imserver.data.sealing import PLAIN, EventSeal, key_of

_STEP_S: Final = 280.0
"""So long MongoDB remembers a moment, by default; a check that takes longer ends."""

_EVENTS_A_STEP: Final = 1_000


class _Log(NamedTuple):
    events: int
    first: int
    last: int


async def check(url: str, ring: KeyRing | None = None) -> Report:
    """Look through the store at ``url``, in time linear in its size; with a ``ring``, also into what is
    sealed.

    Raises:
        StoreTooNew: a newer version wrote it.
        StoreUnavailable: it is not there, or cannot be read.
    """
    database = await Database.open(url, existing=True)
    try:
        async with database.session() as session:
            await Records(database).catch_up(session)
        with pymongo.timeout(_STEP_S):
            async with database.client.start_session(snapshot=True) as session:
                return await _Check(database, session, ring).run()
    except (PyMongoError, BSONError) as exc:
        raise StoreUnavailable(f"MongoDB cannot be read to the end: {exc}") from exc
    finally:
        await database.aclose()


class _Check:
    """One look through everything."""

    def __init__(self, database: Database, session: Session, ring: KeyRing | None) -> None:
        self._database = database
        self._session = session
        self._ring = ring
        self._tally = Tally()
        self._logs: dict[str, _Log] = {}
        self._unopened = 0

    async def run(self) -> Report:
        database = self._database
        self._logs = await self._read_logs()
        conversations = await self._check_conversations()
        await self._check_events()
        await self._check_cursors()
        await self._check_seals()
        await self._check_blobs()
        build: Any = await database.client.admin.command("buildInfo")
        count = sum(log.events for log in self._logs.values())
        findings = tuple(self._tally.findings())
        return Report(
            database.name, build["version"], conversations, count, findings, self._unopened
        )

    async def _read_logs(self) -> dict[str, _Log]:
        group = {
            "_id": "$_id.c",
            "count": {"$sum": 1},
            "first": {"$min": "$_id.s"},
            "last": {"$max": "$_id.s"},
        }
        rows = self._rows(self._database.events, [{"$group": group}])
        return {row["_id"]: _Log(row["count"], row["first"], row["last"]) async for row in rows}

    async def _check_conversations(self) -> int:
        found = self._find(self._database.robots, {}, {"_id": 1})
        robots = {row["_id"] async for row in found}
        undone = {"change": {"$exists": True}}
        pending = {conv_of(row) async for row in self._find(self._database.events, undone)}
        known = set()
        async for record in self._find(self._database.conversations, {}):
            conv = record["_id"]
            known.add(conv)
            await self._check_log(conv, record["floor"])
            if conv in pending:
                continue  # its members are what the log says once that is done
            members = [f"{conv}: {member['r']}" for member in record["members"]]
            if record["deleted"]:
                self._tally.add("member_of_ended_group", *members)
            strangers = [m["r"] for m in record["members"] if m["r"] not in robots]
            self._tally.add("unregistered_member", *(f"{conv}: {robot}" for robot in strangers))
        orphans = [conv for conv in self._logs if conv not in known and conv not in pending]
        self._tally.add("event_without_conversation", *orphans)
        return len(known)

    async def _check_log(self, conv: str, floor: int) -> None:
        log = self._logs.get(conv)
        if log is None:
            self._tally.add("conversation_without_events", conv)
            return
        if (log.first, log.events) == (floor, log.last - floor + 1):
            return
        before = floor - 1
        # What lies below the floor is about to go: of a server that died before it took it out again.
        kept = {"_id": between(conv, before)}
        async for row in self._find(self._database.events, kept, {"_id": 1}, in_order=True):
            seq = row["_id"]["s"]
            if seq != before + 1:
                self._tally.add("gap", f"{conv}: {before} is followed by {seq}")
            before = seq

    async def _check_events(self) -> None:
        refers = {"$gt": ["$ref", None]}
        amiss = {"$or": [{"$lt": ["$ref", 1]}, {"$gte": ["$ref", "$_id.s"]}]}
        wanted = {"$expr": {"$and": [refers, amiss]}}
        async for row in self._find(self._database.events, wanted, {"ref": 1}):
            place = row["_id"]
            witness = f"{place['c']}: {place['s']} refers to {row['ref']}"
            self._tally.add("dangling_ref", witness)
        whose = {"conv": "$_id.c", "sender": "$sender", "cid": "$cid"}
        doubles: list[Document] = [
            {"$group": {"_id": whose, "count": {"$sum": 1}}},
            {"$match": {"count": {"$gt": 1}}},
        ]
        async for row in self._rows(self._database.events, doubles):
            cid = row["_id"]
            witness = (
                f"{cid['conv']}: cid {cid['cid']} of {cid['sender']} stands {row['count']} times"
            )
            self._tally.add("duplicate_cid", witness)

    async def _check_cursors(self) -> None:
        async for row in self._find(self._database.cursors, {}):
            conv, robot, device = (row["_id"][name] for name in ("c", "r", "d"))
            log = self._logs.get(conv)
            head = 0 if log is None else log.last
            if not 0 <= row["seq"] <= head:
                witness = f"{conv}: {robot}/{device} is at {row['seq']}, the head at {head}"
                self._tally.add("cursor_beyond_head", witness)

    async def _check_seals(self) -> None:
        state = await read_state(self._database, self._session)
        if PLAIN not in state.words:
            bare = self._find(self._database.events, {"sealed": {"$exists": False}}, {"_id": 1})
            async for row in bare:
                self._tally.add("not_sealed", _place(row))
        seal = None if self._ring is None else EventSeal(self._ring)
        async for row in self._find(self._database.events, {"sealed": {"$exists": True}}):
            if seal is None or key_of(row["sealed"]) not in seal.ring.ids:
                self._unopened += 1
                continue
            try:
                seal.open(conv_of(row), event_of(row))
            except SealBroken:
                self._tally.add("broken_seal", _place(row))

    async def _check_blobs(self) -> None:
        held = {
            "_id": "$_id.b",
            "count": {"$sum": 1},
            "size": {"$sum": {"$binarySize": "$bytes"}},
        }
        rows = self._rows(self._database.segments, [{"$group": held}])
        content = {row["_id"]: (row["count"], row["size"]) async for row in rows}
        blobs = {row["_id"]: row["uses"] async for row in self._find(self._database.blobs, {})}
        used = set()
        async for file in self._find(self._database.files, {}):
            if file["digest"] is not None and file["blob"] not in used:
                await self._check_file(file, *content.get(file["blob"], (0, 0)))
            used.add(file["blob"])
        self._tally.add("blob_without_file", *(b for b, n in blobs.items() if n and b not in used))
        known = blobs.keys() | {thumbnail_of(blob) for blob in blobs}
        self._tally.add("stray_content", *(f"segments of {b}" for b in content if b not in known))

    async def _check_file(self, file: Document, count: int, size: int) -> None:
        wanted, blob = file["size"], BlobId(file["blob"])
        segments = -(-wanted // SEGMENT_BYTES)
        witness = f"{blob}, of file {file['_id']}"
        if count < segments:
            self._tally.add("missing_content", witness)
        elif size != wanted + (count * OVERHEAD if is_sealed(blob) else 0):
            self._tally.add("damaged_content", witness)
        elif not is_sealed(blob) or self._ring is not None:
            digest = hashlib.sha256()
            try:
                async for part in self._content(blob, segments):
                    digest.update(part)
            except StoreCorrupt:
                pass  # and so the digest is another one
            if digest.digest() != bytes(file["digest"]) and await self._is_there(file):
                self._tally.add("damaged_content", witness)

    async def _is_there(self, file: Document) -> bool:
        """Tell whether a file is there still: its bytes are read as they are now."""
        return await self._database.files.find_one({"_id": file["_id"]}, {"_id": 1}) is not None

    async def _content(self, blob: BlobId, segments: int) -> AsyncIterator[bytes]:
        key = FileKey(FileKeyPlace(self._database), self._ring)
        if is_sealed(blob):
            await key.load()
        content = SealedContent(MongoContent(self._database), key)
        for index in range(segments):
            yield await content.get(blob, index) or b""

    async def _rows(
        self, collection: Collection, pipeline: list[Document]
    ) -> AsyncIterator[Document]:
        found = await collection.aggregate(pipeline, session=self._session, allowDiskUse=True)
        async for row in found:
            yield row

    async def _find(
        self,
        collection: Collection,
        wanted: Document,
        fields: Document | None = None,
        *,
        in_order: bool = False,
    ) -> AsyncIterator[Document]:
        found = collection.find(wanted, fields, session=self._session, batch_size=_EVENTS_A_STEP)
        async for row in found.sort([("_id", 1)]) if in_order else found:
            yield row


def _place(event: Document) -> str:
    return f"{event['_id']['c']}: {event['_id']['s']}"
