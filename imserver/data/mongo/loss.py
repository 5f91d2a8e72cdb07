"""Goes on with a store in MongoDB that was set back: what ``imserver accept-loss --store`` does.

A replica set that acks by majority loses nothing by itself. Who restores a backup into it sets it back, and
clients have then seen events that are gone, whose seq will be given again. So every conversation gets a new
epoch, by which they can tell the two apart, and no cursor stays beyond its head. No server may run meanwhile.
"""

import secrets
from typing import Any, Final, NamedTuple

from imserver.core.acts import Act
from imserver.data.mongo.administration import record
from imserver.data.mongo.database import Database, Session
from imserver.data.mongo.nodes import require_at_rest
from imserver.data.mongo.records import Records
from imserver.data.mongo.rows import Document
from imserver.protocol.names import ConversationName

_STEP_S: Final = 600.0
_CURSORS_A_STEP: Final = 1_000
_PULSE_LEAP: Final = 1_000_000
"""More beats than a server counts in a year: every server finds the store ahead of what it remembers."""


class Accepted(NamedTuple):
    """What is there after it."""

    conversations: int
    events: int


async def accept_loss(url: str, *, remembered: int, force: bool, act: Act) -> Accepted | None:
    """Give every conversation a new epoch, and record the act; None if nothing is lost, as far as can be
    seen.

    It can be seen by a conversation that a robot's word has halted, and by a pulse that is behind the one
    ``remembered`` by a server. With ``force`` it is not looked for. What broke off is done by saying it
    again.

    Raises:
        StoreUnavailable: there is no store, it cannot be written, or servers have it open.
        StoreTooNew: a newer version wrote it.
    """
    database = await Database.open(url, existing=True)
    try:
        async with database.session(_STEP_S) as session:
            await require_at_rest(database, session)
            if not force and not await _is_lost(database, remembered, session):
                return None
            await Records(database).catch_up(session)
            accepted = await _begin_epoch(database, secrets.token_hex(8), session)
            async with database.transaction(session):
                await record(database, [act], session)
        return accepted
    finally:
        await database.aclose()


async def _is_lost(database: Database, remembered: int, session: Session) -> bool:
    pulse = await database.meta.find_one({"_id": "pulse"}, session=session)
    if pulse is None or pulse.get("n", 0) < remembered:
        return True
    halted = {"seen": {"$exists": True}}
    return await database.conversations.find_one(halted, session=session) is not None


async def _begin_epoch(database: Database, epoch: str, session: Session) -> Accepted:
    await database.raise_fence(session)
    change = {"$set": {"epoch": epoch}, "$unset": {"seen": ""}}
    changed = await database.conversations.update_many({}, change, session=session)
    await _bring_cursors_back(database, session)
    await database.meta.update_one({"_id": "store"}, {"$set": {"epoch": epoch}}, session=session)
    leap = {"$inc": {"n": _PULSE_LEAP}}
    await database.meta.update_one({"_id": "pulse"}, leap, upsert=True, session=session)
    events = await database.events.count_documents({}, session=session)
    return Accepted(changed.matched_count, events)


async def _bring_cursors_back(database: Database, session: Session) -> None:
    """Bring cursors beyond the head of their log back to it."""
    last: Any = {"_id": "$_id.c", "head": {"$max": "$_id.s"}}
    groups: list[Document] = [{"$group": last}]
    heads = {
        row["_id"]: row["head"] for row in await database.snapshot(groups, session, of="events")
    }
    beyond: dict[ConversationName, int] = {}
    async for cursor in database.cursors.find({}, session=session, batch_size=_CURSORS_A_STEP):
        conv = cursor["_id"]["c"]
        if cursor["seq"] > heads.get(conv, 0):
            beyond[conv] = heads.get(conv, 0)
    for conv, head in beyond.items():
        of_conv = {"_id": {"$gt": {"c": conv}, "$lt": {"c": conv + "\0"}}, "seq": {"$gt": head}}
        await database.cursors.update_many(of_conv, {"$set": {"seq": head}}, session=session)
