"""A store in MongoDB as a place to move from or to; see `imserver.data.moving`."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, Self

import msgspec
from bson.errors import BSONError
from pymongo.errors import PyMongoError

from imserver.core.errors import StoreUnavailable
from imserver.data.mongo.database import Collection, Database
from imserver.data.mongo.records import Records
from imserver.data.mongo.rows import Document
from imserver.data.moving import ROWS_A_STEP, Row

_STEP_S: Final = 60.0
_json: Final = msgspec.json.Encoder().encode


class MongoRows:
    """The rows of a store in MongoDB that no server runs on. Made by `source` or `target`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def source(cls, url: str) -> Self:
        """Open a store to move away from.

        Raises:
            StoreUnavailable, StoreTooNew: it cannot be read, or holds what cannot be moved.
        """
        database = await Database.open(url)
        try:
            async with database.session(_STEP_S) as session:
                await Records(database).catch_up(session)
                if await database.files.find_one({}, session=session) is not None:
                    raise StoreUnavailable("this store holds files, which cannot be moved yet")
                sealed = {"sealed": {"$exists": True}}
                if await database.events.find_one(sealed, session=session) is not None:
                    raise StoreUnavailable(
                        "bodies in this store are sealed; sealed ones cannot be moved yet"
                    )
        except BaseException:
            await database.aclose()
            raise
        return cls(database)

    @classmethod
    async def target(cls, url: str) -> Self:
        """Open an empty database to move to.

        Raises:
            StoreUnavailable: it is not empty, or cannot be written.
        """
        database = await Database.open(url, moving=True)
        async with database.session(_STEP_S) as session:
            for collection in (database.conversations, database.events, database.robots):
                if await collection.find_one({}, session=session) is not None:
                    await database.aclose()
                    raise StoreUnavailable(
                        "the database is not empty; name another one, or drop it if it is what a move that "
                        "broke off has left"
                    )
        return cls(database)

    async def epoch(self) -> str:
        return self._database.epoch

    async def count(self) -> int:
        async with self._database.session(_STEP_S) as session:
            return await self._database.events.count_documents({}, session=session)

    async def rows(self, table: str) -> AsyncIterator[list[Row]]:
        """Yield the rows of a table; see `Source.rows`."""
        rows: list[Row] = []
        async for some in self._documents(table):
            rows += some
            if len(rows) >= ROWS_A_STEP:
                yield rows
                rows = []
        if rows:
            yield rows

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
            else:
                collection = getattr(self._database, table)
                documents = [_DOCUMENTS[table](*row) for row in rows]
                await collection.insert_many(documents, ordered=False, session=session)
                if table == "acts":
                    last = {"$max": {"n": max(row[0] for row in rows)}}
                    await self._database.meta.update_one(
                        {"_id": "acts"}, last, upsert=True, session=session
                    )

    async def finish(self, epoch: str) -> None:
        change = {"$set": {"epoch": epoch}, "$unset": {"moving": ""}}
        async with self._database.session(_STEP_S) as session:
            await self._database.meta.update_one({"_id": "store"}, change, session=session)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._database.aclose()

    async def _documents(self, table: str) -> AsyncIterator[list[Row]]:
        """Yield the rows of each document that holds some of a table."""
        try:
            for collection, row_of in self._reading(table):
                found = collection.find({}, sort=[("_id", 1)], batch_size=ROWS_A_STEP)
                async for document in found:
                    yield row_of(document)
        except (PyMongoError, BSONError) as exc:
            raise StoreUnavailable(f"MongoDB cannot be read: {exc}") from exc

    def _reading(self, table: str) -> list[tuple[Collection, Callable[[Document], list[Row]]]]:
        """Return where the rows of a table are, and how they come out of a document."""
        database = self._database
        match table:
            case "members":
                return [(database.conversations, _member_rows)]
            case "spent_tokens":
                return [(database.robots, _spent_rows), (database.spent_tokens, _ROWS[table])]
        return [(getattr(database, table), _ROWS[table])]


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
    "events": lambda conv, seq, ts, sender, cid, kind, ref, body: (
        {
            "_id": {"c": conv, "s": seq},
            "ts": ts,
            "sender": sender,
            "cid": cid,
            "kind": kind,
            "body": body,
        }
        | _without_none(ref=ref)
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
    return [(place["c"], place["s"], *values, event.get("ref"), event["body"])]


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
}
