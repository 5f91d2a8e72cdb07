"""Which nodes have the store open, and with what each of them seals bodies: leases, in the store itself.

By them a command knows that it may not do what needs the store at rest, and whoever brings old bodies under a
new key, that nobody seals with an older one any more. A node that stands still loses its lease, and may wake
up and write: what it would spoil is fenced where it writes. Times are the database's own.
"""

import asyncio
import logging
from typing import Final, NamedTuple

from imserver.core.errors import StoreUnavailable
from imserver.core.tasks import heed_cancellation
from imserver.data.mongo.database import Database, Session
from imserver.data.mongo.rows import Document

LEASE_S: Final = 20
BEAT_S: Final = 5.0
_END_S: Final = 2.0
_NOW: Final = "$$NOW"
_log: Final = logging.getLogger(__name__)


class Node(NamedTuple):
    """A node that has the store open; ``seals_with`` is a key's id, or ``plain``."""

    name: str
    seals_with: str


def in_lease() -> Document:
    """Return the expression for the moment at which a lease that begins now ends."""
    return {"$dateAdd": {"startDate": _NOW, "unit": "second", "amount": LEASE_S}}


class Leases:
    """This node's lease, and a look at the others'."""

    def __init__(self, database: Database, name: str) -> None:
        self.name: Final = name
        self._database = database
        self._seals_with = ""

    async def take(self, seals_with: str, session: Session) -> None:
        """Tell that this node is here, and with what it seals from here on."""
        lease = {"seals_with": {"$literal": seals_with}, "until": in_lease()}
        await self._database.nodes.update_one(
            {"_id": self.name}, [{"$set": lease}], upsert=True, session=session
        )
        self._seals_with = seals_with

    async def run(self) -> None:
        """Keep the lease, until cancelled."""
        while True:
            heed_cancellation()
            await asyncio.sleep(BEAT_S)
            try:
                async with self._database.session() as session:
                    await self.take(self._seals_with, session)
            except StoreUnavailable as exc:
                _log.warning("store.lease_put_off", extra={"reason": str(exc)})

    async def others(self, session: Session) -> list[Node]:
        """Return the other nodes whose leases have not ended."""
        nodes = await live_nodes(self._database, session)
        return [node for node in nodes if node.name != self.name]

    async def end(self) -> None:
        """Tell that this node is here no longer."""
        try:
            async with self._database.session(_END_S) as session:
                await self._database.nodes.delete_one({"_id": self.name}, session=session)
        except StoreUnavailable as exc:
            _log.info("store.lease_left", extra={"reason": str(exc)})


async def live_nodes(database: Database, session: Session) -> list[Node]:
    """Return the nodes that have the store open, or had it until a moment ago."""
    found = database.nodes.find({"$expr": {"$gt": ["$until", _NOW]}}, session=session)
    return [Node(row["_id"], row["seals_with"]) async for row in found]


async def require_at_rest(database: Database, session: Session) -> None:
    """Return if no node has the store open.

    Raises:
        StoreUnavailable: some have; the text names them.
    """
    nodes = await live_nodes(database, session)
    if nodes:
        raise StoreUnavailable(
            f"{len(nodes)} servers have this store open ({', '.join(node.name for node in nodes)}); stop "
            f"them first. One that was killed counts as stopped {LEASE_S} s later"
        )
