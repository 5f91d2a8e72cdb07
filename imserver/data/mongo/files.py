"""Files in MongoDB: the catalogue, and the bytes in documents of one segment each.

That an event refers to a file stands in the event's own document, so the reference is there with the event or
not at all. What else concerns two documents, a file and its blob, is a transaction of the database; each one
touches a document that its rivals touch too (the owner's, or the blob's), so that of two at a time one starts
over.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from imserver.core.errors import StoreUnavailable
from imserver.core.files import BlobId, FileId, FileQuota, FileRecord
from imserver.data.memory.files import check_segment, exceeds
from imserver.data.mongo.database import Database, Session
from imserver.data.mongo.records import Records
from imserver.data.mongo.rows import Document, between
from imserver.protocol.names import ConversationName, RobotName

_NOTHING: Final = FileQuota(0, 0, 0)
_OUT_OF_DISK_SPACE: Final = 14_031


class MongoFiles:
    """A `FileCatalog` and `FileLeavings`."""

    def __init__(self, database: Database, records: Records, check: Callable[[], None]) -> None:
        self._database = database
        self._records = records
        self._check = check

    async def create(self, file: FileRecord, quota: FileQuota) -> FileQuota | None:
        async def write(session: Session) -> FileQuota | None:
            async with self._database.transaction(session):
                if await self._find(file.id, session) is not None:
                    return None  # by this call, whose answer did not come
                await self._database.owners.update_one(
                    {"_id": file.owner}, {"$inc": {"creations": 1}}, upsert=True, session=session
                )
                has = await self._usage(file.owner, session)
                would = FileQuota(has.size + file.size, has.files + 1, has.unfinished + 1)
                if exceeds(would, quota):
                    return would
                await self._database.files.insert_one(_document(file), session=session)
                await self._database.blobs.insert_one(
                    {"_id": file.blob, "uses": 1}, session=session
                )
            return None

        self._check()
        return await self._database.until_known(write)

    async def find(self, file: FileId) -> FileRecord | None:
        self._check()
        async with self._database.session() as session:
            return await self._find(file, session)

    async def owned(self, owner: RobotName, *, after: str, limit: int) -> list[FileRecord]:
        self._check()
        if limit <= 0:
            return []
        wanted = {"owner": owner, "_id": {"$gt": after}}
        async with self._database.session() as session:
            found = self._database.files.find(
                wanted, session=session, sort=[("_id", 1)], limit=limit
            )
            return [_record(document) async for document in found]

    async def move_offset(self, file: FileId, offset: int, *, expires_ms: int) -> bool:
        async def write(session: Session) -> bool:
            moved = await self._database.files.update_one(
                {"_id": file, "digest": None},
                {"$set": {"offset": offset, "expires_ms": expires_ms}},
                session=session,
            )
            return bool(moved.matched_count)

        self._check()
        return await self._database.until_known(write)

    async def complete(
        self, file: FileId, digest: bytes, *, expires_ms: int | None
    ) -> FileRecord | None:
        async def write(session: Session) -> FileRecord | None:
            async with self._database.transaction(session):
                found = await self._find(file, session)
                if found is None or found.digest is not None:
                    return found
                blob = await self._shared_blob(found, digest, session)
                done = {
                    "blob": blob,
                    "offset": found.size,
                    "digest": digest,
                    "expires_ms": expires_ms,
                }
                await self._database.files.update_one(
                    {"_id": file}, {"$set": done}, session=session
                )
                return msgspec.structs.replace(found, **done)

        self._check()
        return await self._database.until_known(write)

    async def remove(self, file: FileId) -> bool:
        tried = False

        async def write(session: Session) -> bool:
            nonlocal tried
            async with self._database.transaction(session):
                gone = await self._database.files.find_one_and_delete(
                    {"_id": file}, session=session
                )
                if gone is None:
                    return tried
                tried = True
                await self._use(gone["blob"], -1, session)
            return True

        self._check()
        return await self._database.until_known(write)

    async def shared_in(
        self, file: FileId, robot: RobotName | None, *, after: str, limit: int
    ) -> list[ConversationName]:
        self._check()
        if limit <= 0:
            return []
        async with self._database.session() as session:
            if await self._find(file, session) is None:
                return []
            await self._records.catch_up(session)
            convs = await self._database.events.distinct("_id.c", {"file": file}, session=session)
            wanted: Document = {"_id": {"$in": convs, "$gt": after}, "deleted": False}
            if robot is None:
                wanted["_id"]["$regex"] = "^g/"
            else:
                wanted["members.r"] = robot
            found = self._database.conversations.find(
                wanted, {"_id": 1}, session=session, sort=[("_id", 1)], limit=limit
            )
            return [ConversationName(document["_id"]) async for document in found]

    async def expire(self, now_ms: int, *, limit: int) -> int:
        self._check()
        async with self._database.session() as session:
            due = await self._database.files.find(
                {"expires_ms": {"$lte": now_ms}},
                {"_id": 1},
                session=session,
                sort=[("expires_ms", 1)],
                limit=max(limit, 1),
            ).to_list()
        for document in due[:limit]:
            await self.remove(document["_id"])
        return len(due[:limit])

    async def dropped(self, *, limit: int) -> list[BlobId]:
        self._check()
        async with self._database.session() as session:
            found = await self._database.blobs.find(
                {"uses": 0}, session=session, sort=[("_id", 1)], limit=max(limit, 1)
            ).to_list()
        return [BlobId(document["_id"]) for document in found[:limit]]

    async def forget(self, blob: BlobId) -> None:
        async def write(session: Session) -> None:
            await self._database.blobs.delete_one({"_id": blob, "uses": 0}, session=session)

        self._check()
        await self._database.until_known(write)

    async def let_go_below(self, conv: ConversationName, floor: int, session: Session) -> None:
        """Let files expire to which only events of ``conv`` below ``floor`` refer."""
        gone = {"_id": between(conv, 0, floor), "file": {"$exists": True}}
        named = await self._database.events.distinct("file", gone, session=session)
        if not named:
            return
        kept = set()
        references = self._database.events.find(
            {"file": {"$in": named}}, {"file": 1}, session=session
        )
        async for event in references:
            if event["_id"]["c"] != conv or event["_id"]["s"] >= floor:
                kept.add(event["file"])
        free = [file for file in named if file not in kept]
        await self._database.files.update_many(
            {"_id": {"$in": free}}, {"$set": {"expires_ms": 0}}, session=session
        )

    async def _find(self, file: FileId, session: Session) -> FileRecord | None:
        found = await self._database.files.find_one({"_id": file}, session=session)
        return None if found is None else _record(found)

    async def _usage(self, owner: RobotName, session: Session) -> FileQuota:
        is_unfinished = {"$cond": [{"$eq": ["$digest", None]}, 1, 0]}
        sums = {
            "_id": None,
            "size": {"$sum": "$size"},
            "files": {"$sum": 1},
            "unfinished": {"$sum": is_unfinished},
        }
        pipeline: list[Document] = [{"$match": {"owner": owner}}, {"$group": sums}]
        rows = await (await self._database.files.aggregate(pipeline, session=session)).to_list()
        return msgspec.convert(rows[0], FileQuota) if rows else _NOTHING

    async def _shared_blob(self, file: FileRecord, digest: bytes, session: Session) -> BlobId:
        """Return the blob of a finished file with the same bytes, now used once more, or else its own."""
        same = await self._database.files.find_one(
            {"digest": digest, "size": file.size}, session=session
        )
        if same is None or not await self._use(same["blob"], 1, session):
            return file.blob
        await self._use(file.blob, -1, session)
        return BlobId(same["blob"])

    async def _use(self, blob: str, times: int, session: Session) -> bool:
        """Count on or off that a file has a blob; tell whether any had it."""
        counted = await self._database.blobs.update_one(
            {"_id": blob, "uses": {"$gt": 0}}, {"$inc": {"uses": times}}, session=session
        )
        return bool(counted.matched_count)


class MongoContent:
    """A `FileContent` in the database: what is put is with a majority when it is answered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def name(self, token: str) -> BlobId:
        return BlobId(token)

    async def put(self, blob: BlobId, index: int, segment: bytes) -> None:
        check_segment(segment)
        try:
            async with self._database.session() as session:
                await self._database.segments.update_one(
                    {"_id": {"b": blob, "i": index}},
                    {"$set": {"bytes": bytes(segment)}},
                    upsert=True,
                    session=session,
                )
        except StoreUnavailable as exc:
            if getattr(exc.__cause__, "code", None) == _OUT_OF_DISK_SPACE:
                raise StoreUnavailable(
                    "there is no room for files: MongoDB's disk is full"
                ) from exc
            raise

    async def sync(self, blob: BlobId) -> None:
        """Return: what was put is durable."""

    async def get(self, blob: BlobId, index: int) -> bytes | None:
        async with self._database.session() as session:
            found = await self._database.segments.find_one(
                {"_id": {"b": blob, "i": index}}, session=session
            )
        return None if found is None else bytes(found["bytes"])

    async def drop(self, blob: BlobId) -> None:
        of_blob = {"_id": {"$gt": {"b": blob}, "$lt": {"b": blob + "\0"}}}

        async def write(session: Session) -> None:
            await self._database.segments.delete_many(of_blob, session=session)

        await self._database.until_known(write)


def _document(file: FileRecord) -> Document:
    values: dict[str, Any] = msgspec.structs.asdict(file)
    values["_id"] = values.pop("id")
    return values


def _record(document: Document) -> FileRecord:
    values = dict(document)
    return FileRecord(id=values.pop("_id"), **values)
