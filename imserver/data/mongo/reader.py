"""Reads of the logs in MongoDB: pages, single events, amendments, and what retention asks."""

from collections.abc import Sequence
from typing import Final

from imserver.core.key_ring import OVERHEAD
from imserver.core.model import Keep
from imserver.data.holes import hole_in, last_run, run_from
from imserver.data.mongo.bodies import Bodies
from imserver.data.mongo.database import Database, Session
from imserver.data.mongo.records import Records
from imserver.data.mongo.rows import Document, between, place
from imserver.data.packing import Packing
from imserver.data.store import Bounds
from imserver.protocol.events import AMENDING_KINDS, REDACT, SEQ_MAX, Event
from imserver.protocol.names import ConversationName

_USUAL_BYTES: Final = 256
_FIRST_EVENTS: Final = 16
_TRIM_BYTES: Final = 1024 * 1024
_SIZE: Final[Document] = {
    "$subtract": [
        {"$binarySize": "$body"},
        {"$cond": [{"$gt": ["$sealed", None]}, OVERHEAD, 0]},
    ]
}
"""How many bytes a body had when it was sent."""


class Reader(Packing):
    """Reads logs; methods are as in the port."""

    def __init__(self, database: Database, records: Records, bodies: Bodies) -> None:
        self._database = database
        self._records = records
        self._event_of = bodies.event_of
        self._usual_bytes = _USUAL_BYTES

    async def read_after(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        after = max(after, 0)
        async with self._database.session() as session:
            while True:
                page = await self._page({"_id": between(conv, after)}, 1, limit, bytes_max, session)
                if not page or page[-1].seq - after == len(page):
                    return page
                floor = await self._floor(conv, session)
                if floor <= after + 1:
                    return run_from(conv, after + 1, page)
                after = floor - 1  # what stands before was let go, perhaps while it was read

    async def read_before(
        self, conv: ConversationName, before: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        async with self._database.session() as session:
            wanted = {"_id": between(conv, 0, before)}
            page = await self._page(wanted, -1, limit, bytes_max, session)
            if limit > 0 and not (page and page[0].seq == before - 1):
                await self._see_that_none_is_missing(conv, before, session)
        return last_run(page[::-1])

    async def read_one(self, conv: ConversationName, seq: int) -> Event | None:
        async with self._database.session() as session:
            found = await self._database.events.find_one({"_id": place(conv, seq)}, session=session)
        return None if found is None else self._event_of(found)

    async def amendments(
        self, conv: ConversationName, seqs: Sequence[int], *, until: int
    ) -> dict[int, Event]:
        if not seqs:
            return {}
        wanted = {
            "_id.c": conv,
            "_id.s": {"$lte": until},
            "ref": {"$in": list(seqs)},
            "kind": {"$in": sorted(AMENDING_KINDS)},
        }
        deciding: dict[int, Event] = {}
        async with self._database.session() as session:
            found = await self._database.events.find(wanted, session=session).to_list()
        for event in sorted(map(self._event_of, found), key=lambda event: event.seq):
            if event.ref is not None:  # always, by the query; here for the type
                known = deciding.get(event.ref)
                if known is None or known.kind != REDACT or event.kind == REDACT:
                    deciding[event.ref] = event
        return deciding

    async def bounds(self, convs: Sequence[ConversationName]) -> dict[ConversationName, Bounds]:
        fields = {"epoch": 1, "floor": 1}
        async with self._database.session() as session:
            found = self._database.conversations.find(
                {"_id": {"$in": list(convs)}}, fields, session=session
            )
            return {
                ConversationName(record["_id"]): Bounds(record["epoch"], record["floor"])
                async for record in found
            }

    async def first_kept(self, conv: ConversationName, keep: Keep) -> int:
        async with self._database.session() as session:
            log = (await self._records.logs([conv], session))[conv]
            if log is None:
                return 0
            first = log.floor
            if keep.events is not None:
                first = max(first, log.head - keep.events + 1)
            if keep.since_ms is not None:
                young = {"_id": between(conv, log.floor - 1), "ts": {"$gte": keep.since_ms}}
                first = max(first, await self._first(young, session) or log.head)
            if keep.body_bytes is not None:
                first = max(first, await self._first_that_fits(conv, keep.body_bytes, session))
        return min(first, log.head)

    async def end_of_trim(
        self, conv: ConversationName, *, floor: int, below: int, limit: int, session: Session
    ) -> int:
        """Return how far one step of `EventLog.trim` goes: the floor after it."""
        if limit <= 0 or below <= floor:
            return floor
        sizes = self._database.events.find(
            {"_id": between(conv, floor - 1, below)},
            {"size": _SIZE},
            session=session,
            sort=[("_id", 1)],
            limit=limit,
        )
        end, size = floor, 0
        async for row in sizes:
            size += row["size"]
            if size > _TRIM_BYTES and end > floor:
                break
            end = int(row["_id"]["s"]) + 1
        return end

    async def _page(
        self, wanted: Document, order: int, limit: int, bytes_max: int, session: Session
    ) -> list[Event]:
        if limit <= 0:
            return []
        fitting = max(bytes_max // self._usual_bytes, _FIRST_EVENTS)
        found = self._database.events.find(
            wanted,
            session=session,
            sort=[("_id", order)],
            limit=limit,
            batch_size=min(limit, fitting) + 1,
        )
        page: list[Event] = []
        size = 0
        async with found:
            async for document in found:
                size += len(document["body"]) - (OVERHEAD if "sealed" in document else 0)
                if size > bytes_max and page:
                    break
                page.append(self._event_of(document))
        if page:
            self._usual_bytes = 1 + (self._usual_bytes + size // len(page)) // 2
        return page

    async def _see_that_none_is_missing(
        self, conv: ConversationName, before: int, session: Session
    ) -> None:
        """Raise `EventMissing` if the event ahead of ``before``, which was not found, is kept."""
        if before >= SEQ_MAX:
            return
        # From the missing one on: it may have been appended since the page was read.
        next_seq = await self._first({"_id": between(conv, before - 2)}, session)
        if next_seq is None or next_seq < before:
            return
        if before > await self._floor(conv, session):
            raise hole_in(conv, before - 1)

    async def _floor(self, conv: ConversationName, session: Session) -> int:
        log = (await self._records.logs([conv], session))[conv]
        return 0 if log is None else log.floor

    async def _first(self, wanted: Document, session: Session) -> int | None:
        found = await self._database.events.find_one(
            wanted, {"_id": 1}, sort=[("_id", 1)], session=session
        )
        return None if found is None else int(found["_id"]["s"])

    async def _first_that_fits(
        self, conv: ConversationName, body_bytes: int, session: Session
    ) -> int:
        """Return the seq behind the newest event with which the bodies, summed up from the head backwards,
        take more than ``body_bytes``; 0 if there is none."""
        so_far = {"$sum": "$size", "window": {"documents": ["unbounded", "current"]}}
        rows = await self._database.snapshot(
            [
                {"$match": {"_id": between(conv, 0)}},
                {"$project": {"size": _SIZE}},
                {"$setWindowFields": {"sortBy": {"_id": -1}, "output": {"bytes": so_far}}},
                {"$match": {"bytes": {"$gt": body_bytes}}},
                {"$limit": 1},
            ],
            session,
            of="events",
        )
        return int(rows[0]["_id"]["s"]) + 1 if rows else 0
