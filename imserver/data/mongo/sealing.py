"""The sealing of a store in MongoDB that any number of nodes share: which keys are in use, and their change.

The store remembers, in one document, with what its bodies may be sealed (`State.words`: key ids, and
``plain``). A node is admitted, in one transaction with its lease (`nodes`), when its ring has all of these;
the key that it seals with is among them before the first body is. Nodes that seal and nodes that do not never
serve together.

How old bodies come under a new key. When every node seals with it, one node, whoever takes the turn, goes
through the logs in their order, some documents at a time, seals what is sealed otherwise anew, and notes how
far it is. Another may go on from there at any moment. At the end the new key alone is left in the words. A
node that is admitted with another key meanwhile ends the pass: a new one begins later, when that node has
been told. And a node that stood still, with an old key in its memory, finds by the fence that it was passed,
and brings its key back among the words before what it has stored is acked.
"""

import asyncio
import logging
import secrets
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from bson.min_key import MinKey
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import DuplicateKeyError

from imserver.core.errors import (
    KeyRingUnusable,
    SealBroken,
    SealingKeyMissing,
    StoreUnavailable,
)
from imserver.core.key_ring import KeyId, KeyRing, sealed_with
from imserver.core.tasks import heed_cancellation
from imserver.data.mongo.bodies import Bodies
from imserver.data.mongo.database import Database, Session
from imserver.data.mongo.nodes import Leases, in_lease
from imserver.data.mongo.rows import Document, conv_of
from imserver.data.ring_change import RingChange
from imserver.data.sealing import PLAIN, key_of, number_of

LOOK_EVERY_S: Final = 5.0
_REST: Final = 3.0
"""How long to rest after a step, in times of what it took."""

_STEP_ROWS: Final = 200
_TOLD_EVERY_S: Final = 10.0
SEALING: Final[Document] = {"_id": "sealing"}
FILE_KEY: Final[Document] = {"_id": "file_key"}
_log: Final = logging.getLogger(__name__)


class State(NamedTuple):
    """What the store knows of its sealing.

    Attributes:
        words: what bodies may be sealed with.
        file_key: the key that the files' own key is wrapped with, or None.
        under_way: the pass that brings all bodies under one key: its ``id``, ``target``, and ``at``.
    """

    words: frozenset[str]
    file_key: KeyId | None
    under_way: Document | None

    @property
    def required(self) -> set[KeyId]:
        """The keys without which something may not be readable."""
        of_files = set() if self.file_key is None else {self.file_key}
        return of_files | {KeyId(word) for word in self.words if word != PLAIN}


class Uses(NamedTuple):
    """How many bodies are sealed with each key; the files' own key counts as one."""

    keys: dict[KeyId, int]
    plain: int


async def read_state(database: Database, session: Session) -> State:
    """Return what the store knows of its sealing; of one that was never asked, its events decide."""
    found = await database.meta.find_one(SEALING, session=session)
    if found is None:
        is_old = await database.events.find_one({}, {"_id": 1}, session=session) is not None
        found = {"words": [PLAIN] if is_old else []}
    kept = await database.meta.find_one(FILE_KEY, session=session)
    file_key = None if kept is None else sealed_with(kept["wrapped"])
    return State(frozenset(found["words"]), file_key, found.get("under_way"))


async def count_uses(database: Database, session: Session) -> Uses:
    """Count the bodies by what they are sealed with, in time linear in the size of the store."""
    pipeline: list[Document] = [{"$group": {"_id": "$sealed", "n": {"$sum": 1}}}]
    rows = await database.snapshot(pipeline, session, of="events")
    counts = {row["_id"]: row["n"] for row in rows}
    plain = counts.pop(None, 0)
    keys = {key_of(number): count for number, count in counts.items()}
    file_key = (await read_state(database, session)).file_key
    if file_key is not None:
        keys[file_key] = keys.get(file_key, 0) + 1
    return Uses(keys, plain)


class FileKeyPlace:
    """A `KeyPlace` in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def wrapped_file_key(self) -> bytes | None:
        async with self._database.session() as session:
            found = await self._database.meta.find_one(FILE_KEY, session=session)
        return None if found is None else bytes(found["wrapped"])

    async def put_wrapped_file_key(self, wrapped: bytes, *, first: bool) -> bytes:
        async def put(session: Session) -> bytes:
            kept: Any = await self._database.meta.find_one_and_update(
                FILE_KEY,
                {"$setOnInsert" if first else "$set": {"wrapped": wrapped}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
                session=session,
            )
            return bytes(kept["wrapped"])

        try:
            return await self._database.until_known(put)
        except DuplicateKeyError:  # another node put the first one at the same moment
            return await self._database.until_known(put)


class MongoSealing:
    """The sealing of a store, as one of its nodes leads it.

    Attributes:
        renew: has `run` take the keys that a file has then; those of before stay in use if it cannot.
    """

    def __init__(self, database: Database, leases: Leases, bodies: Bodies) -> None:
        self._database = database
        self._leases = leases
        self._bodies = bodies
        self._change = RingChange()
        self.renew = self._change.ask
        self._told_s = float("-inf")

    async def begin(self) -> None:
        """Have this node admitted; called before anything else.

        Raises:
            SealingKeyMissing: the ring lacks a key that something is sealed with.
            KeyRingUnusable: something is sealed, and sealing is off; or other nodes serve without it.
        """
        seal = self._bodies.seal
        if seal is None:
            await self._admit((), PLAIN)
        else:
            await self._admit(seal.ring.ids, seal.ring.current)

    async def run(self) -> None:
        """Bring all bodies under the current key, again after each change of it; until cancelled."""
        while True:
            heed_cancellation()
            try:
                if self._bodies.seal is not None:
                    await self._change.make(self._bodies.seal.ring, self._admit_with)
                async with self._database.session() as session:
                    await self.look(session)
                if self._bodies.seal is not None:
                    await self._reseal(self._bodies.seal.ring.current)
            except StoreUnavailable as exc:
                _log.warning("sealing.put_off", extra={"reason": str(exc)})
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._change.asked.wait()
            except TimeoutError:
                continue

    async def look(self, session: Session) -> None:
        """See with what bodies are sealed now. Called also where the fence has risen since the last look.

        What this node has stored a moment ago may be sealed with a key that was passed while it stood still.

        Raises:
            StoreUnavailable: this node does not seal, and the others do.
        """
        state = await read_state(self._database, session)
        own = PLAIN if self._bodies.seal is None else self._bodies.seal.ring.current
        if own not in state.words:
            change = {"$addToSet": {"words": own}, "$unset": {"under_way": ""}}
            await self._database.meta.update_one(SEALING, change, session=session)
            _log.error(
                "sealing.passed", extra={"key": own, "advice": "tell this node of the new key"}
            )
        self._bodies.note_words(state.words | {own})
        self._bodies.is_out = self._bodies.seal is None and bool(state.required)
        self._bodies.require_in()

    async def _admit(self, ids: Collection[KeyId], key: str) -> None:
        async def write(session: Session) -> frozenset[str]:
            async with self._database.transaction(session):
                state = await read_state(self._database, session)
                _require_keys(state, ids)
                await self._require_alike(key, session)
                await self._leases.take(key, session)
                change: Document = {"$inc": {"admissions": 1}}
                words = state.words | {key}
                change["$set"] = {"words": sorted(words)}
                if state.under_way is not None and state.under_way["target"] != key:
                    change["$unset"] = {"under_way": ""}
                await self._database.meta.update_one(SEALING, change, upsert=True, session=session)
                if key not in state.words:
                    await self._database.raise_fence(session)
                return words

        try:
            self._bodies.note_words(await self._database.until_known(write))
        except DuplicateKeyError:  # of two that made the document one was faster
            self._bodies.note_words(await self._database.until_known(write))

    async def _require_alike(self, key: str, session: Session) -> None:
        for node in await self._leases.others(session):
            if (node.seals_with == PLAIN) != (key == PLAIN):
                does = "without sealing" if node.seals_with == PLAIN else "and seals"
                raise KeyRingUnusable(
                    f"server {node.name} has this store open {does}: nodes that seal and nodes that do not "
                    "cannot serve together. Stop all of them, and start each with the same key ring"
                )

    async def _admit_with(self, ring: KeyRing) -> None:
        await self._admit(ring.ids, ring.current)

    async def _reseal(self, target: KeyId) -> None:
        async with self._database.session() as session:
            if not await self._is_our_turn(target, session):
                return
        begun = await self._begin_pass(target)
        now_s = asyncio.get_running_loop().time
        broken: set[str] = set()
        count, told_s = 0, now_s()
        while begun is not None and not self._change.is_due:
            heed_cancellation()
            began_s = now_s()
            place, looked_at = await self._step(target, begun, broken)
            count += looked_at
            if place is None:
                await self._finish(target, begun, broken)
                _log.info("sealing.resealed", extra={"bodies": count})
                return
            begun = await self._keep_pass(begun, place)
            if now_s() - told_s > _TOLD_EVERY_S:
                told_s = now_s()
                _log.info("sealing.resealing", extra={"bodies": count})
            await asyncio.sleep(_REST * (now_s() - began_s))

    async def _is_our_turn(self, target: KeyId, session: Session) -> bool:
        state = await read_state(self._database, session)
        if state.words <= {target}:
            return False
        behind = [n for n in await self._leases.others(session) if n.seals_with != target]
        now_s = asyncio.get_running_loop().time()
        if behind and now_s - self._told_s > _TOLD_EVERY_S:
            self._told_s = now_s
            facts = {"key": target, "nodes": [f"{n.name} ({n.seals_with})" for n in behind]}
            _log.warning("sealing.waits_for_nodes", extra=facts)
        return not behind

    async def _begin_pass(self, target: KeyId) -> Document | None:
        """Take the turn of the pass under ``target``, which may have been begun; None: another has it."""
        mine = {"$eq": [{"$ifNull": ["$under_way.by", self._leases.name]}, self._leases.name]}
        free = {"$or": [mine, {"$lt": ["$under_way.until", "$$NOW"]}]}
        fresh = {"id": secrets.token_hex(8), "target": target, "at": MinKey()}
        is_same = {"$eq": ["$under_way.target", target]}
        begun = {"$cond": [is_same, "$under_way", {"$literal": fresh}]}
        turn = {"by": self._leases.name, "until": in_lease()}
        return await self._change_pass({"$expr": free}, {"$mergeObjects": [begun, turn]})

    async def _keep_pass(self, begun: Document, place: Document) -> Document | None:
        """Note how far the pass is; None if it is ours no longer."""
        wanted = {"under_way.id": begun["id"], "under_way.by": self._leases.name}
        step = {"at": {"$literal": place}, "until": in_lease()}
        return await self._change_pass(wanted, {"$mergeObjects": ["$under_way", step]})

    async def _change_pass(self, wanted: Document, to: Document) -> Document | None:
        async def write(session: Session) -> Document | None:
            found: Document | None = await self._database.meta.find_one_and_update(
                SEALING | wanted,
                [{"$set": {"under_way": to}}],
                return_document=ReturnDocument.AFTER,
                session=session,
            )
            return None if found is None else found["under_way"]

        return await self._database.until_known(write)

    async def _step(
        self, target: KeyId, begun: Document, broken: set[str]
    ) -> tuple[Document | None, int]:
        """Seal the next few bodies anew; return the last place looked at, None at the end, and how many."""

        async def write(session: Session) -> tuple[Document | None, int]:
            rows = await self._database.events.find(
                {"_id": {"$gt": begun["at"]}}, session=session, sort=[("_id", 1)], limit=_STEP_ROWS
            ).to_list()
            anew = [row for row in rows if row.get("sealed") != number_of(target)]
            changes = [change for row in anew if (change := self._anew(row, broken)) is not None]
            if changes:
                await self._database.events.bulk_write(changes, ordered=False, session=session)
            return (rows[-1]["_id"] if rows else None), len(rows)

        return await self._database.until_known(write)

    def _anew(self, row: Document, broken: set[str]) -> UpdateOne | None:
        try:
            event = self._bodies.event_of(row)
        except SealBroken:
            broken.add(key_of(row["sealed"]) if "sealed" in row else PLAIN)
            return None
        sealed = self._bodies.sealed(conv_of(row), event)
        # Another node may be at it, too, if this one stood still: what it did is as good.
        return UpdateOne({"_id": row["_id"], "body": row["body"]}, {"$set": sealed})

    async def _finish(self, target: KeyId, begun: Document, broken: set[str]) -> None:
        async def write(session: Session) -> frozenset[str] | None:
            async with self._database.transaction(session):
                state = await read_state(self._database, session)
                left = {target} | (broken & state.words)
                done = {"$set": {"words": sorted(left)}, "$unset": {"under_way": ""}}
                finished = await self._database.meta.update_one(
                    SEALING | {"under_way.id": begun["id"]}, done, session=session
                )
                if finished.matched_count:
                    await self._database.raise_fence(session)
            return frozenset(left) if finished.matched_count else None

        words = await self._database.until_known(write)
        if words is not None:  # else the next look tells
            self._bodies.note_words(words)


def _require_keys(state: State, ids: Collection[KeyId]) -> None:
    missing = state.required.difference(ids)
    if not missing:
        return
    if ids:
        raise SealingKeyMissing(
            f"bodies in this store are sealed with key {', '.join(sorted(missing))}, which is not in the key "
            "ring; put back the ring that has it (sealing.keys names the file)"
        )
    raise KeyRingUnusable(
        f"bodies in this store are sealed (with key {', '.join(sorted(missing))}), and sealing is off; set "
        "sealing.enabled, and give this node the key ring"
    )
