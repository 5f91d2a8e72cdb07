"""Administrative acts, tokens on record and starts of programs, in MongoDB.

An act and what it changes are one transaction of the database. Its id is its document's, so that an act whose
outcome was unknown is done once, however often it is tried.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from imserver.core.acts import (
    Act,
    KeyReplaced,
    RecordedAct,
    Revoked,
    RobotEnded,
    TokenEnded,
    TokenMade,
    TokenRecord,
)
from imserver.core.model import Boot
from imserver.data.mongo.database import Collection, Database, Session
from imserver.data.mongo.rows import Document
from imserver.data.store import BOOTS_MAX
from imserver.protocol.names import DeviceName, RobotName


class MongoAdministration:
    """An `Administration`."""

    def __init__(self, database: Database, check: Callable[[], None]) -> None:
        self._database = database
        self._check = check

    async def perform(self, acts: Sequence[Act]) -> list[bool]:
        async def write(session: Session) -> list[bool]:
            async with self._database.transaction(session):
                return await record(self._database, acts, session)

        self._check()
        return await self._database.until_known(write)

    async def acts(self, *, before: int | None, limit: int) -> list[RecordedAct]:
        self._check()
        if limit <= 0:
            return []
        where = {} if before is None else {"number": {"$lt": before}}
        async with self._database.session() as session:
            found = self._database.acts.find(
                where, session=session, sort=[("number", -1)], limit=limit
            )
            return [msgspec.convert(document, RecordedAct) async for document in found]

    async def forget(self, *, acts_before_ms: int, acts_max: int, now_ms: int) -> None:
        async def write(session: Session) -> None:
            acts = self._database.acts
            await acts.delete_many({"at_ms": {"$lt": acts_before_ms}}, session=session)
            last = await acts.find_one({}, session=session, sort=[("number", -1)], skip=acts_max)
            if last is not None:
                await acts.delete_many({"number": {"$lte": last["number"]}}, session=session)
            await self._database.tokens.delete_many(
                {"expires_ms": {"$lte": now_ms}}, session=session
            )

        self._check()
        await self._database.until_known(write)

    async def tokens(self, *, robot: RobotName | None, after: str, limit: int) -> list[TokenRecord]:
        where: Document = {"_id": {"$gt": after}} | ({} if robot is None else {"robot": robot})
        return await self._tokens(where, limit)

    async def token(self, token_id: str) -> TokenRecord | None:
        found = await self._tokens({"_id": token_id}, 1)
        return found[0] if found else None

    async def revoked(self) -> Revoked:
        self._check()
        async with self._database.session() as session:
            tokens = self._database.tokens.find({"revoked_ms": {"$ne": None}}, session=session)
            ended = {document["_id"]: document["expires_ms"] async for document in tokens}
            robots = self._database.robots.find({"revoked_ms": {"$gt": -1}}, session=session)
            return Revoked(ended, {RobotName(r["_id"]): r["revoked_ms"] async for r in robots})

    async def _tokens(self, where: Document, limit: int) -> list[TokenRecord]:
        self._check()
        if limit <= 0:
            return []
        async with self._database.session() as session:
            rows = await self._database.tokens.find(
                where, session=session, sort=[("_id", 1)], limit=limit
            ).to_list()
            ids = [row["_id"] for row in rows]
            used = self._database.robots.find({"token": {"$in": ids}}, session=session)
            spent = {document["token"] async for document in used}
            moved = self._database.spent_tokens.find({"_id": {"$in": ids}}, session=session)
            spent |= {document["_id"] async for document in moved}
        return [
            msgspec.convert({**row, "id": row["_id"], "spent": row["_id"] in spent}, TokenRecord)
            for row in rows
        ]


class MongoBoots:
    """A `Boots`."""

    def __init__(self, database: Database, check: Callable[[], None]) -> None:
        self._database = database
        self._check = check

    async def last_boot(self, robot: RobotName, device: DeviceName) -> Boot | None:
        self._check()
        async with self._database.session() as session:
            found = await self._database.boots.find_one({"_id": robot}, session=session)
        for noted in found["devices"] if found else ():
            if noted["device"] == device:
                return Boot(noted["number"], noted["instance"])
        return None

    async def note_boot(self, robot: RobotName, device: DeviceName, boot: Boot) -> None:
        noted = {"device": device, "number": boot.number, "instance": boot.instance}
        others: Any = {
            "$filter": {
                "input": {"$ifNull": ["$devices", []]},
                "cond": {"$ne": ["$$this.device", {"$literal": device}]},
            }
        }
        devices = {"$slice": [{"$concatArrays": [others, [{"$literal": noted}]]}, -BOOTS_MAX]}

        async def write(session: Session) -> None:
            await self._database.boots.update_one(
                {"_id": robot}, [{"$set": {"devices": devices}}], upsert=True, session=session
            )

        self._check()
        await self._database.until_known(write)


async def record(database: Database, acts: Sequence[Act], session: Session) -> list[bool]:
    """Carry out and record acts within the transaction of a session."""
    return [await _act(database, act, session) for act in acts]


async def _act(database: Database, act: Act, session: Session) -> bool:
    if await database.acts.find_one({"_id": act.id}, session=session) is not None:
        return True
    if not await _change(database, act, session):
        return False
    counter: Any = await database.meta.find_one_and_update(
        {"_id": "acts"}, {"$inc": {"n": 1}}, upsert=True, return_document=True, session=session
    )
    row = msgspec.to_builtins(act)
    row.pop("change", None)
    row["_id"] = row.pop("id")
    await database.acts.insert_one(row | {"number": counter["n"]}, session=session)
    return True


async def _change(database: Database, act: Act, session: Session) -> bool:
    robots, tokens = database.robots, database.tokens
    match act.change:
        case TokenMade() as made:
            await _put_token(tokens, act, made, session)
        case TokenEnded(expires_ms=expires_ms):
            await _put_token(tokens, act, TokenMade("", (), (), expires_ms), session, by="")
            await tokens.update_one(
                {"_id": act.token_id, "revoked_ms": None},
                {"$set": {"revoked_ms": act.at_ms}},
                session=session,
            )
        case RobotEnded():
            change = {
                "$set": {"public_key": None},
                "$max": {"revoked_ms": act.at_ms},
                "$setOnInsert": {"registered_ms": act.at_ms},
            }
            await robots.update_one({"_id": act.robot}, change, upsert=True, session=session)
        case KeyReplaced(old=old, new=new):
            done = await robots.update_one(
                {"_id": act.robot, "public_key": old},
                {"$set": {"public_key": new}},
                session=session,
            )
            return bool(done.matched_count)
    return True


async def _put_token(
    tokens: Collection, act: Act, made: TokenMade, session: Session, *, by: str | None = None
) -> None:
    """Put a token on record, unless it is there."""
    row = {
        "kind": made.kind,
        "robot": act.robot or "",
        "scopes": list(made.scopes),
        "groups": list(made.groups),
        "minted_ms": act.at_ms,
        "minted_by": act.by if by is None else by,
        "expires_ms": made.expires_ms,
        "revoked_ms": None,
    }
    await tokens.update_one(
        {"_id": act.token_id}, {"$setOnInsert": row}, upsert=True, session=session
    )
