"""A store in MongoDB as a place to move from or to; see `imserver.data.moving`.

Documents are read in pages by their ``_id``, each a question of its own: a cursor would not outlive the time
that the bytes of large files take between two pages.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, Self

import msgspec
from bson.min_key import MinKey
from pymongo import UpdateOne

from imserver.core.errors import StoreUnavailable
from imserver.core.files import FileRecord
from imserver.data.mongo.database import Collection, Database, Session
from imserver.data.mongo.files import MongoContent, file_document, file_record
from imserver.data.mongo.nodes import require_at_rest
from imserver.data.mongo.records import Records
from imserver.data.mongo.rows import Document
from imserver.data.mongo.sealing import FILE_KEY, SEALING, FileKeyPlace, read_state
from imserver.data.moving import BYTES_A_STEP, ROWS_A_STEP, Row, Sealing, Size, in_steps

_STEP_S: Final = 60.0
_LOOK_THROUGH_S: Final = 600.0
_json: Final = msgspec.json.Encoder().encode


class MongoRows:
    """The rows of a store in MongoDB that no server runs on. Made by `source` or `target`.

    Attributes:
        content: the bytes of its files.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.content = MongoContent(database)
        self._first_pulse = 0

    @classmethod
    async def source(cls, url: str) -> Self:
        """Open a store to move away from.

        Raises:
            StoreUnavailable, StoreTooNew: it is not there, servers run on it, or it cannot be read.
        """
        database = await Database.open(url, existing=True)
        try:
            async with database.session(_STEP_S) as session:
                await require_at_rest(database, session)
                await Records(database).catch_up(session)
        except BaseException:
            await database.aclose()
            raise
        return cls(database)

    @classmethod
    async def target(cls, url: str, *, now_ms: int) -> Self:
        """Open an empty database to move to.

        Raises:
            StoreUnavailable: it is not empty, or cannot be written.
        """
        database = await Database.open(url, moving=True)
        try:
            async with database.session(_STEP_S) as session:
                await _require_empty(database, session)
        except BaseException:
            await database.aclose()
            raise
        rows = cls(database)
        # Higher than what a server remembers of a store that it ran on before: it beats once a minute.
        rows._first_pulse = now_ms // 1_000
        return rows

    async def epoch(self) -> str:
        return self._database.epoch

    async def size(self) -> Size:
        async with self._database.session(_LOOK_THROUGH_S) as session:
            events = await self._database.events.count_documents({}, session=session)
            sums: list[Document] = [{"$group": {"_id": None, "size": {"$sum": "$offset"}}}]
            found = await self._database.snapshot(sums, session, of="files")
        return Size(events, found[0]["size"] if found else 0)

    async def sealing(self) -> Sealing:
        async with self._database.session(_STEP_S) as session:
            state = await read_state(self._database, session)
        return Sealing(state.words, await FileKeyPlace(self._database).wrapped_file_key())

    async def rows(self, table: str) -> AsyncIterator[list[Row]]:
        """Yield the rows of a table; see `Source.rows`."""
        for collection, wanted, row_of in self._reading(table):
            async for documents in self._pages(collection, wanted):
                for step in in_steps(row for document in documents for row in row_of(document)):
                    yield step

    async def files(self) -> AsyncIterator[list[FileRecord]]:
        """Yield the files; see `Source.files`."""
        async for documents in self._pages(self._database.files, {}):
            yield [file_record(document) for document in documents]

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        async with self._database.session(_STEP_S) as session:
            if table == "members":
                for row in _grouped(rows):
                    await self._database.conversations.update_one(*row, session=session)
            elif table == "boots":
                for robot, device, number, instance, _ in rows:
                    noted = {"device": device, "number": number, "instance": instance}
                    await self._database.boots.update_one(
                        {"_id": robot}, {"$push": {"devices": noted}}, upsert=True, session=session
                    )
            elif table == "file_refs":
                refers = [
                    UpdateOne({"_id": {"c": conv, "s": seq}}, {"$set": {"file": file}})
                    for file, conv, seq in rows
                ]
                await self._database.events.bulk_write(refers, ordered=False, session=session)
            else:
                await self._insert(table, rows, session)

    async def put_files(self, files: Sequence[FileRecord]) -> list[FileRecord]:
        uses = [
            UpdateOne({"_id": file.blob}, {"$inc": {"uses": 1}} | _done(file), upsert=True)
            for file in files
        ]
        documents = [file_document(msgspec.structs.replace(file, run=0)) for file in files]
        async with self._database.session(_STEP_S) as session:
            counted = await self._database.blobs.bulk_write(uses, session=session)
            await self._database.files.insert_many(documents, session=session)
        return [files[number] for number in counted.upserted_ids or ()]

    async def finish(self, epoch: str, sealing: Sealing) -> None:
        change = {"$set": {"epoch": epoch}, "$unset": {"moving": ""}}
        meta = self._database.meta
        async with self._database.session(_STEP_S) as session:
            words = {"$set": {"words": sorted(sealing.words)}}
            await meta.update_one(SEALING, words, upsert=True, session=session)
            if sealing.file_key is not None:
                key = {"$set": {"wrapped": sealing.file_key}}
                await meta.update_one(FILE_KEY, key, upsert=True, session=session)
            pulse = {"$max": {"n": self._first_pulse}}
            await meta.update_one({"_id": "pulse"}, pulse, upsert=True, session=session)
            await meta.update_one({"_id": "store"}, change, session=session)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._database.aclose()

    async def _insert(self, table: str, rows: Sequence[Row], session: Session) -> None:
        collection = getattr(self._database, table)
        documents = [_DOCUMENTS[table](*row) for row in rows]
        await collection.insert_many(documents, ordered=False, session=session)
        if table == "acts":
            last = {"$max": {"n": max(row[0] for row in rows)}}
            await self._database.meta.update_one(
                {"_id": "acts"}, last, upsert=True, session=session
            )

    async def _pages(
        self, collection: Collection, wanted: Document
    ) -> AsyncIterator[list[Document]]:
        after: Any = MinKey()
        while True:
            page, size = [], 0
            wanted = wanted | {"_id": {"$gt": after}}
            async with (
                self._database.session(_STEP_S) as session,
                collection.find(
                    wanted,
                    session=session,
                    sort=[("_id", 1)],
                    limit=ROWS_A_STEP,
                    batch_size=ROWS_A_STEP,
                ) as found,
            ):
                async for document in found:
                    page.append(document)
                    size += len(document.get("body", b""))
                    if size >= BYTES_A_STEP:
                        break
            if not page:
                return
            yield page
            after = page[-1]["_id"]

    def _reading(
        self, table: str
    ) -> list[tuple[Collection, Document, Callable[[Document], list[Row]]]]:
        """Return where the rows of a table are, and how they come out of a document."""
        database = self._database
        match table:
            case "members":
                return [(database.conversations, {}, _member_rows)]
            case "spent_tokens":
                return [
                    (database.robots, {}, _spent_rows),
                    (database.spent_tokens, {}, _ROWS[table]),
                ]
            case "file_refs":
                return [(database.events, {"file": {"$exists": True}}, _ROWS[table])]
        return [(getattr(database, table), {}, _ROWS[table])]


async def _require_empty(database: Database, session: Session) -> None:
    for collection in (
        database.conversations,
        database.events,
        database.robots,
        database.acts,
        database.tokens,
        database.files,
        database.segments,
    ):
        if await collection.find_one({}, session=session) is not None:
            raise StoreUnavailable(
                "the database is not empty; name another one, or drop it if it is what a move that "
                "broke off has left"
            )
    await database.meta.update_one({"_id": "store"}, {"$set": {"moving": True}}, session=session)


def _done(file: FileRecord) -> Document:
    return {} if file.digest is None else {"$set": {"done": True}}


def _grouped(rows: Sequence[Row]) -> list[tuple[Document, Document]]:
    members: dict[str, list[Document]] = {}
    for conv, robot, role, since in rows:
        members.setdefault(conv, []).append({"r": robot, "role": role, "since": since})
    return [
        ({"_id": conv}, {"$push": {"members": {"$each": those}}}) for conv, those in members.items()
    ]


def _without_none(**values: Any) -> Document:
    return {name: value for name, value in values.items() if value is not None}


_DOCUMENTS: Final[dict[str, Callable[..., Document]]] = {
    "robots": lambda name, key, at, revoked: (
        {"_id": name, "public_key": key, "registered_ms": at} | _without_none(revoked_ms=revoked)
    ),
    "spent_tokens": lambda token, expires: {"_id": token, "expires_ms": expires},
    "acts": lambda number, act, at, by, kind, robot, token, facts: {
        "_id": act,
        "number": number,
        "at_ms": at,
        "by": by,
        "kind": kind,
        "robot": robot,
        "token_id": token,
        "facts": msgspec.json.decode(facts),
    },
    "tokens": lambda token, kind, robot, scopes, convs, at, by, expires, revoked: {
        "_id": token,
        "kind": kind,
        "robot": robot,
        "scopes": msgspec.json.decode(scopes),
        "groups": msgspec.json.decode(convs),
        "minted_ms": at,
        "minted_by": by,
        "expires_ms": expires,
        "revoked_ms": revoked,
    },
    "conversations": lambda name, epoch, is_open, deleted, at, floor, seen, head: (
        {
            "_id": name,
            "epoch": epoch,
            "open": bool(is_open),
            "deleted": bool(deleted),
            "members": [],
            "floor": floor,
            "applied": head,
            "created_ms": at,
        }
        | _without_none(seen=seen)
    ),
    "cursors": lambda conv, robot, device, seq: {
        "_id": {"c": conv, "r": robot, "d": device},
        "seq": seq,
    },
    "events": lambda conv, seq, ts, sender, cid, kind, ref, sealed, body: (
        {
            "_id": {"c": conv, "s": seq},
            "ts": ts,
            "sender": sender,
            "cid": cid,
            "kind": kind,
            "body": body,
        }
        | _without_none(ref=ref, sealed=sealed)
    ),
}


def _member_rows(record: Document) -> list[Row]:
    return [(record["_id"], m["r"], m["role"], m["since"]) for m in record["members"]]


def _spent_rows(robot: Document) -> list[Row]:
    token = robot.get("token")
    return [] if token is None else [(token, robot["token_expires_ms"])]


def _event_rows(event: Document) -> list[Row]:
    place = event["_id"]
    values = (event[name] for name in ("ts", "sender", "cid", "kind"))
    return [(place["c"], place["s"], *values, event.get("ref"), event.get("sealed"), event["body"])]


_ROWS: Final[dict[str, Callable[[Document], list[Row]]]] = {
    "robots": lambda d: [
        (d["_id"], d["public_key"], d["registered_ms"], d.get("revoked_ms")),
    ],
    "spent_tokens": lambda d: [(d["_id"], d["expires_ms"])],
    "acts": lambda d: [
        (
            d["number"],
            d["_id"],
            d["at_ms"],
            d["by"],
            d["kind"],
            d.get("robot"),
            d.get("token_id"),
            _json(d.get("facts", {})).decode(),
        )
    ],
    "tokens": lambda d: [
        (
            d["_id"],
            d["kind"],
            d["robot"],
            _json(d["scopes"]).decode(),
            _json(d["groups"]).decode(),
            d["minted_ms"],
            d["minted_by"],
            d["expires_ms"],
            d["revoked_ms"],
        )
    ],
    "boots": lambda d: [
        (d["_id"], noted["device"], noted["number"], noted["instance"], nth)
        for nth, noted in enumerate(d["devices"])
    ],
    "conversations": lambda d: [
        (
            d["_id"],
            d["epoch"],
            d["open"],
            d["deleted"],
            d["created_ms"],
            d["floor"],
            d.get("seen"),
            d["applied"],
        )
    ],
    "cursors": lambda d: [(d["_id"]["c"], d["_id"]["r"], d["_id"]["d"], d["seq"])],
    "events": _event_rows,
    "file_refs": lambda d: [(d["file"], d["_id"]["c"], d["_id"]["s"])],
}
