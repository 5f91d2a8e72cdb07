"""Files in MongoDB: the catalogue, and the bytes in documents of one segment each.

That an event refers to a file stands in the event's own document, so the reference is there with the event or
not at all. What else concerns two documents, a file and its blob, is a transaction of the database; each one
touches a document that its rivals touch too (the owner's, or the blob's), so that of two at a time one starts
over.

Any node may write to any upload. Who does has *claimed* it: a number in the file's and its blob's documents,
the run, has risen. Every segment is written in one transaction with a look at that number, so of a run that
was claimed from, of a file that is finished, and of a blob that is let go, nothing is written any more,
however late the writer wakes up. So what is finished never changes, and may be shared.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from pymongo import ReturnDocument
from pymongo.errors import OperationFailure

from imserver.core.files import (
    SEGMENT_BYTES,
    BlobId,
    FileId,
    FileQuota,
    FileRecord,
    picture_of,
)
from imserver.data.memory.files import check_segment, exceeds
from imserver.data.mongo.database import Database, NoRoom, Session
from imserver.data.mongo.records import Records
from imserver.data.mongo.rows import Document, between
from imserver.protocol.names import ConversationName, RobotName

_NOTHING: Final = FileQuota(0, 0, 0)
_OUT_OF_DISK_SPACE: Final = 14_031
_SHARERS_MAX: Final = 8
_USAGE: Final = {
    "_id": None,
    "size": {"$sum": "$size"},
    "files": {"$sum": 1},
    "unfinished": {"$sum": {"$cond": [{"$eq": ["$digest", None]}, 1, 0]}},
}


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
                await self._database.files.insert_one(file_document(file), session=session)
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

    async def claim(self, file: FileId) -> FileRecord | None:
        async def write(session: Session) -> FileRecord | None:
            while True:
                found = await self._find(file, session)
                if found is None or found.digest is not None:
                    return found
                run = await self._next_run(found.blob, session)
                claimed = await self._database.files.find_one_and_update(
                    {"_id": file, "digest": None, "run": {"$lt": run}},
                    {"$set": {"run": run}},
                    return_document=ReturnDocument.AFTER,
                    session=session,
                )
                if claimed is not None:
                    return file_record(claimed)

        self._check()
        return await self._database.until_known(write)

    async def owned(self, owner: RobotName, *, after: str, limit: int) -> list[FileRecord]:
        self._check()
        if limit <= 0:
            return []
        wanted = {"owner": owner, "_id": {"$gt": after}}
        async with self._database.session() as session:
            found = self._database.files.find(
                wanted, session=session, sort=[("_id", 1)], limit=limit
            )
            return [file_record(document) async for document in found]

    async def move_offset(
        self, file: FileId, offset: int, *, expires_ms: int, run: int = 0
    ) -> bool:
        async def write(session: Session) -> bool:
            moved = await self._database.files.update_one(
                {"_id": file, "digest": None, "run": run},
                {"$set": {"offset": offset, "expires_ms": expires_ms}},
                session=session,
            )
            return bool(moved.matched_count)

        self._check()
        return await self._database.until_known(write)

    async def complete(
        self, file: FileId, digest: bytes, *, expires_ms: int | None, run: int = 0
    ) -> FileRecord | None:
        async def write(session: Session) -> FileRecord | None:
            async with self._database.transaction(session):
                found = await self._find(file, session)
                if found is None or found.digest is not None or found.run != run:
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

    async def remove(self, file: FileId, *, run: int | None = None) -> bool:
        if run is not None:
            return await self._remove({"_id": file, "digest": None, "run": run})
        return await self._remove({"_id": file}, from_writer=True)

    async def _remove(self, wanted: Document, *, from_writer: bool = False) -> bool:
        """Remove the file that a condition names; ``from_writer``: from whichever run writes to it, too."""
        tried = False

        async def write(session: Session) -> bool:
            nonlocal tried
            if from_writer:
                await self._stop_writer(wanted, session)
            async with self._database.transaction(session):
                gone = await self._database.files.find_one_and_delete(wanted, session=session)
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
            # It may have got more time since: somebody has gone on with its upload, by another node.
            wanted = {"_id": document["_id"], "expires_ms": {"$lte": now_ms}}
            await self._remove(wanted, from_writer=True)
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
        return None if found is None else file_record(found)

    async def _next_run(self, blob: str, session: Session) -> int:
        """End the run that writes to an unfinished blob; return the number of the next one.

        A write of one document waits for the transactions of others, where one in a transaction would have to
        try again for as long as somebody writes without a rest.
        """
        found = await self._database.blobs.find_one_and_update(
            {"_id": blob, "uses": {"$gt": 0}, "done": None},
            {"$inc": {"run": 1}},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        return 0 if found is None else int(found["run"])

    async def _stop_writer(self, wanted: Document, session: Session) -> None:
        found = await self._database.files.find_one(wanted, session=session)
        if found is not None and found["digest"] is None:
            await self._next_run(found["blob"], session)

    async def _usage(self, owner: RobotName, session: Session) -> FileQuota:
        pipeline: list[Document] = [{"$match": {"owner": owner}}, {"$group": _USAGE}]
        rows = await (await self._database.files.aggregate(pipeline, session=session)).to_list()
        return msgspec.convert(rows[0], FileQuota) if rows else _NOTHING

    async def _shared_blob(self, file: FileRecord, digest: bytes, session: Session) -> BlobId:
        """Return the blob of a finished file with the same bytes, now used once more, or else its own."""
        same: list[Document] = [
            {"$match": {"digest": digest, "size": file.size}},
            {"$group": {"_id": "$blob"}},
            {"$limit": _SHARERS_MAX},
        ]
        for row in await (await self._database.files.aggregate(same, session=session)).to_list():
            blob = row["_id"]
            if await self._is_whole(blob, file.size, session) and await self._use(blob, 1, session):
                await self._use(file.blob, -1, session)
                return BlobId(blob)
        await self._database.blobs.update_one(
            {"_id": file.blob}, {"$set": {"done": True}}, session=session
        )
        return file.blob

    async def _is_whole(self, blob: str, size: int, session: Session) -> bool:
        count = await self._database.segments.count_documents(_of_blob(blob), session=session)
        return bool(count == -(-size // SEGMENT_BYTES))

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

    async def put(
        self, blob: BlobId, index: int, segment: bytes, *, run: int | None = None
    ) -> bool:
        wanted = _condition_of_put(blob, run)

        async def write(session: Session) -> bool:
            if wanted is None:
                await self._put(blob, index, segment, session)
                return True
            async with self._database.transaction(session):
                # Counted, and not only looked at: whoever claims or lets go now has to try again.
                counted = await self._database.blobs.update_one(
                    wanted, {"$inc": {"puts": 1}}, session=session
                )
                if not counted.matched_count:
                    return False
                await self._put(blob, index, segment, session)
            return True

        check_segment(segment)
        return await self._database.until_known(write)

    async def _put(self, blob: BlobId, index: int, segment: bytes, session: Session) -> None:
        try:
            await self._database.segments.update_one(
                {"_id": {"b": blob, "i": index}},
                {"$set": {"bytes": bytes(segment)}},
                upsert=True,
                session=session,
            )
        except OperationFailure as exc:
            if exc.code == _OUT_OF_DISK_SPACE:
                raise NoRoom("there is no room for files: MongoDB's disk is full") from exc
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
        async def write(session: Session) -> None:
            # A blob that no file has is never given to one again, so this holds when the bytes go.
            used = await self._database.blobs.find_one(
                {"_id": blob, "uses": {"$gt": 0}}, session=session
            )
            if used is None:
                await self._database.segments.delete_many(_of_blob(blob), session=session)

        await self._database.until_known(write)


def _condition_of_put(blob: BlobId, run: int | None) -> Document | None:
    """Return what must hold of a blob's document for a segment to be written; None: nothing."""
    if run is not None:
        return {"_id": blob, "run": run, "uses": {"$gt": 0}, "done": None}
    picture = picture_of(blob)
    return None if picture is None else {"_id": picture, "uses": {"$gt": 0}}


def _of_blob(blob: str) -> Document:
    return {"_id": {"$gt": {"b": blob}, "$lt": {"b": blob + "\0"}}}


def file_document(file: FileRecord) -> Document:
    """Return a file as it stands in the catalogue."""
    values: dict[str, Any] = msgspec.structs.asdict(file)
    values["_id"] = values.pop("id")
    return values


def file_record(document: Document) -> FileRecord:
    """Return the file that a document holds."""
    values = dict(document)
    return FileRecord(id=values.pop("_id"), **values)
