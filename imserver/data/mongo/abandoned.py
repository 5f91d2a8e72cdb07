"""Ends transactions that nobody leads any more.

What a transaction has written is locked until it ends. MongoDB ends one whose client has died after a minute
(`transactionLifetimeLimitSeconds`); until then nobody else registers or revokes, if it was to write down an
act. No transaction of a node takes seconds. So one that is idle for that long is ended by whichever node
comes upon it: nothing of it was done, and who leads it all the same, having stood still, does it again.
"""

import asyncio
import logging
from typing import Any, Final, NoReturn

import pymongo
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from imserver.core.tasks import heed_cancellation

APP_NAME: Final = "imserver"
"""By which nodes know each other's transactions."""

IDLE_S: Final = 3.0
LOOK_EVERY_S: Final = 2.0
ANSWER_S: Final = 2.0
"""Longer nobody waits for this, who has something to write."""

_log: Final = logging.getLogger(__name__)


class Abandoned:
    """Looks for transactions that were abandoned, on one set."""

    def __init__(self, client: AsyncMongoClient[Any]) -> None:
        self._client = client
        self._looked_s = 0.0
        self._is_denied = False

    async def run(self) -> NoReturn:
        """Look now and then, for ever."""
        while True:
            heed_cancellation()
            await asyncio.sleep(LOOK_EVERY_S)
            await self.end()

    async def look(self) -> None:
        """End what is to be ended, unless somebody has just looked."""
        if asyncio.get_running_loop().time() >= self._looked_s + LOOK_EVERY_S / 2:
            await self.end()

    async def end(self) -> None:
        """End transactions that are idle for too long; does nothing where that is not allowed."""
        self._looked_s = asyncio.get_running_loop().time()
        try:
            with pymongo.timeout(ANSWER_S):
                sessions = await self._idle()
                if sessions:
                    await self._client.admin.command({"killSessions": sessions})
                    _log.warning("store.transactions_ended", extra={"count": len(sessions)})
            self._is_denied = False
        except PyMongoError as exc:
            if not self._is_denied:
                _log.info("store.transactions_unseen", extra={"reason": str(exc)})
            self._is_denied = True

    async def _idle(self) -> list[Any]:
        """Return the sessions whose transaction has waited for its next step for too long."""
        idle = {"type": "idleSession", "appName": APP_NAME}
        waits = {"transaction.timeInactiveMicros": {"$gt": int(IDLE_S * 1_000_000)}}
        found = await self._client.admin.aggregate(
            [{"$currentOp": {"idleSessions": True}}, {"$match": idle | waits}]
        )
        return [{"id": operation["lsid"]["id"]} async for operation in found]
