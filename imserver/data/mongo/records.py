"""The records of conversations, which follow from the logs, and how they are brought up to date.

There are no transactions over two documents, so a change of members is one document first: its event, which
carries the change until it is *done*. Doing it brings the conversation's record from the state that it says
it is in (``applied``, the seq of the last change that is in it) to the next one, with one conditional update
of one document. So it may be tried by anybody, any number of times, also at once: the first one does it, to
the others it is done. Who stored the event does it at once. If that node dies in between, whoever reads
records next finds the event among those whose change is not done (an index holds these alone, and is empty
most of the time) and does it.

A record is read together with the head of its log and its undone changes as of one moment. So what it says is
what the log says, up to that head.
"""

from collections.abc import Iterable
from typing import Any, Final

from bson.max_key import MaxKey
from pymongo.errors import DuplicateKeyError

from imserver.core.model import (
    ConversationRecord,
    GroupSummary,
    Halted,
    Membership,
    Missing,
)
from imserver.data.mongo.database import Database, Session
from imserver.data.mongo.plan import Log
from imserver.data.mongo.rows import Document, members_of
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName, DeviceName, RobotName

_NOT_DONE: Final[Document] = {"change": {"$exists": True}}
_AGGREGATE_MAX: Final = 1_000
"""Records that are asked for at once."""


def _head_of(field: str) -> Document:
    """Return the stage that finds the last event of the conversation named by ``field``."""
    begin, end = {"c": "$$conv", "s": 0}, {"c": "$$conv", "s": MaxKey()}
    in_log = {"$and": [{"$gt": ["$_id", begin]}, {"$lt": ["$_id", end]}]}
    return {
        "$lookup": {
            "from": "events",
            "let": {"conv": field},
            "pipeline": [
                {"$match": {"$expr": in_log}},
                {"$sort": {"_id": -1}},
                {"$limit": 1},
                {"$project": {"_id": 0, "seq": "$_id.s"}},
            ],
            "as": "head",
        }
    }


def _undone_of(field: str) -> Document:
    return {
        "$lookup": {
            "from": "events",
            "localField": field,
            "foreignField": "_id.c",
            "pipeline": [{"$match": _NOT_DONE}, {"$limit": 1}, {"$project": {"_id": 1}}],
            "as": "undone",
        }
    }


def _record_of(field: str, *, with_members: bool) -> Document:
    pipeline: list[Document] = [] if with_members else [{"$project": {"members": 0}}]
    lookup = {"localField": field, "foreignField": "_id", "pipeline": pipeline, "as": "record"}
    return {"$lookup": {"from": "conversations"} | lookup}


def _named(convs: list[ConversationName]) -> Document:
    return {"$documents": [{"conv": {"$literal": conv}} for conv in convs]}


_SEQ: Final[Document] = {"head": {"$ifNull": [{"$first": "$head.seq"}, 0]}}


class Records:
    """Reads conversations' records, and keeps them in step with the logs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def logs(
        self, convs: Iterable[ConversationName], session: Session
    ) -> dict[ConversationName, Log | None]:
        """Return conversations as their next events find them; None for one that does not exist."""
        names = list(convs)
        found: dict[ConversationName, Log | None] = {}
        for start in range(0, len(names), _AGGREGATE_MAX):
            part = names[start : start + _AGGREGATE_MAX]
            rows = await self._rows(part, session, with_members=False)
            found |= {conv: _log_of(rows[conv]) for conv in part}
        return found

    async def heads(
        self, convs: Iterable[ConversationName], session: Session
    ) -> dict[ConversationName, int]:
        """Return the heads of those that exist: a log keeps its last event, whatever retention lets go."""
        names = list(convs)
        found: dict[ConversationName, int] = {}
        for start in range(0, len(names), _AGGREGATE_MAX):
            part = names[start : start + _AGGREGATE_MAX]
            rows = await self._database.snapshot(
                [_named(part), _head_of("$conv"), {"$addFields": _SEQ}], session
            )
            found |= {ConversationName(row["conv"]): row["head"] for row in rows if row["head"]}
        return found

    async def conversation(
        self, conv: ConversationName, session: Session
    ) -> ConversationRecord | None:
        """Return a conversation with its members, or None if it does not exist."""
        row = (await self._rows([conv], session, with_members=True))[conv]
        if not row["record"]:
            return None
        [record] = row["record"]
        return ConversationRecord(
            conv,
            record["epoch"],
            row["head"],
            record["open"],
            record["deleted"],
            members_of(record["members"]),
            record["floor"],
        )

    async def memberships(
        self, robot: RobotName, device: DeviceName, session: Session
    ) -> list[Membership]:
        """Return every conversation of a robot, by name, with the device's cursors."""
        await self.catch_up(session)
        own = {"$filter": {"input": "$members", "cond": {"$eq": ["$$this.r", robot]}}}
        rows = await self._aggregate(
            [
                {"$match": {"members.r": robot}},
                {"$sort": {"_id": 1}},
                {"$project": {"epoch": 1, "floor": 1, "member": {"$first": own}}},
                _head_of("$_id"),
                {"$addFields": _SEQ},
            ],
            session,
        )
        cursors = self._database.cursors.find({"_id.r": robot}, session=session)
        acked: dict[str, dict[str, int]] = {}
        async for cursor in cursors:
            acked.setdefault(cursor["_id"]["c"], {})[cursor["_id"]["d"]] = cursor["seq"]
        return [_membership(row, acked.get(row["_id"], {}), device) for row in rows]

    async def groups(
        self, session: Session, *, member: RobotName | None, after: str, limit: int
    ) -> list[GroupSummary]:
        """Return groups that have not ended, by name, at most ``limit``."""
        if limit <= 0:
            return []
        await self.catch_up(session)
        wanted: Document = {"_id": {"$gt": max(after, "g/"), "$lt": "g0"}, "deleted": False}
        role: Any = {"$literal": None}
        if member is not None:
            wanted["members.r"] = member
            own = {"$filter": {"input": "$members", "cond": {"$eq": ["$$this.r", member]}}}
            role = {"$let": {"vars": {"own": {"$first": own}}, "in": "$$own.role"}}
        rows = await self._aggregate(
            [
                {"$match": wanted},
                {"$sort": {"_id": 1}},
                {"$limit": limit},
                {"$project": {"role": role, "members": {"$size": "$members"}}},
                _head_of("$_id"),
                {"$addFields": _SEQ},
            ],
            session,
        )
        return [
            GroupSummary(
                ConversationName(row["_id"]),
                Role(row["role"]) if row["role"] else None,
                row["members"],
                row["head"],
            )
            for row in rows
        ]

    async def catch_up(
        self, session: Session, convs: Iterable[ConversationName] | None = None
    ) -> None:
        """Do the changes that are not done yet: of these conversations, or of all.

        They are read as of one moment, so that of two of one log never the later one is found alone.
        """
        wanted = dict(_NOT_DONE)
        if convs is not None:
            wanted["_id.c"] = {"$in": list(convs)}
        undone = self._database.events_of_one_moment.find(
            wanted, {"change": 1, "ts": 1}, session=session, hint="unapplied"
        )
        events = sorted(await undone.to_list(), key=lambda event: int(event["_id"]["s"]))
        for event in events:
            await self._do(event, session)

    async def _rows(
        self, convs: list[ConversationName], session: Session, *, with_members: bool
    ) -> dict[ConversationName, Document]:
        """Return, for each of ``convs``, its ``record`` (a list of one or none) and its ``head``."""
        found: dict[ConversationName, Document] = {}
        while convs:
            rows = await self._database.snapshot(
                [
                    _named(convs),
                    _record_of("conv", with_members=with_members),
                    _undone_of("conv"),
                    _head_of("$conv"),
                    {"$addFields": _SEQ},
                ],
                session,
            )
            found |= {row["conv"]: row for row in rows}
            convs = [row["conv"] for row in rows if row["undone"]]
            if convs:
                await self.catch_up(session, convs)
        return found

    async def _aggregate(self, pipeline: list[Document], session: Session) -> list[Document]:
        return await self._database.snapshot(pipeline, session, of="conversations")

    async def _do(self, event: Document, session: Session) -> None:
        conv, seq = event["_id"]["c"], event["_id"]["s"]
        change = event["change"]
        if change["do"] == "begin":
            await self._begin(conv, event, session)
        else:
            # Changes come in the order of the log, so all before this one are in the record.
            await self._database.conversations.update_one(
                {"_id": conv, "applied": {"$lt": seq}}, _update(change, seq), session=session
            )
        await self._database.events.update_one(
            {"_id": event["_id"]}, {"$unset": {"change": ""}}, session=session
        )

    async def _begin(self, conv: str, event: Document, session: Session) -> None:
        change = event["change"]
        record = {
            "_id": conv,
            "epoch": change["epoch"],
            "open": change["open"],
            "deleted": False,
            "members": change["members"],
            "floor": 1,
            "applied": event["_id"]["s"],
            "created_ms": event["ts"],
        }
        try:
            await self._database.conversations.insert_one(record, session=session)
        except DuplicateKeyError:
            return  # done by somebody else meanwhile


def _update(change: Document, seq: int) -> Document | list[Document]:
    match change["do"]:
        case "end":
            return {"$set": {"deleted": True, "members": [], "applied": seq}}
        case "remove":
            gone = {"members": {"r": {"$in": change["robots"]}}}
            return {"$pull": gone, "$set": {"applied": seq}}
        case _:
            return [{"$set": {"members": _with_added(change, seq), "applied": seq}}]


def _with_added(change: Document, seq: int) -> Document:
    """Return the expression for the members when some were added: who is one already only gets the role."""
    robots, role = {"$literal": change["robots"]}, {"$literal": change["role"]}
    with_role = {"$mergeObjects": ["$$m", {"role": role}]}
    is_named = {"$in": ["$$m.r", robots]}
    known = {
        "$map": {"input": "$members", "as": "m", "in": {"$cond": [is_named, with_role, "$$m"]}}
    }
    new = {"$setDifference": [robots, "$members.r"]}
    rows = {"$map": {"input": new, "as": "r", "in": {"r": "$$r", "role": role, "since": seq}}}
    return {"$concatArrays": [known, rows]}


def _log_of(row: Document) -> Log | None:
    if not row["record"]:
        return None
    [record] = row["record"]
    refusal: Missing | Halted | None = None
    if record["deleted"]:
        refusal = Missing()
    elif record.get("seen") is not None:
        refusal = Halted(record["seen"])
    return Log(record["epoch"], row["head"], record["floor"], refusal, record["applied"])


def _membership(row: Document, acked: dict[str, int], device: DeviceName) -> Membership:
    return Membership(
        conv=ConversationName(row["_id"]),
        epoch=row["epoch"],
        head=row["head"],
        role=Role(row["member"]["role"]),
        since=row["member"]["since"],
        device_acked=acked.get(device),
        robot_acked=max(acked.values()) if acked else None,
        floor=row["floor"],
    )
