"""Cursors in MongoDB: how far each device has come in each conversation.

They are written after the events that they came with, in a write of their own: a cursor may come late (its
device is offered again what it acked), and an event that is stored is not to be denied because a cursor could
not be. Those that could not be written are kept, and go with the next ones.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from pymongo import UpdateOne

from imserver.core.errors import StoreUnavailable
from imserver.core.model import Cursor
from imserver.data.mongo.append import Appender
from imserver.data.mongo.database import Database, Session
from imserver.protocol.names import ConversationName, RobotName

_KEPT_MAX: Final = 100_000


class Cursors:
    """Moves cursors forwards, and tells how far they are."""

    def __init__(self, database: Database, appender: Appender) -> None:
        self._database = database
        self._appender = appender
        self._kept: list[Cursor] = []
        self._turn = asyncio.Lock()

    async def move(self, cursors: Sequence[Cursor]) -> None:
        """Write cursors, and those kept from before, as `EventLog.append` promises.

        Raises:
            StoreUnavailable: they are kept for the next time.
        """
        if not cursors:
            return
        async with self._turn:
            self._kept += cursors
            try:
                await self._database.until_known(self._write)
            except StoreUnavailable:
                if len(self._kept) > _KEPT_MAX:
                    self._kept.clear()  # their devices ack again
                raise
            self._kept.clear()

    async def acked(self, conv: ConversationName) -> dict[RobotName, int]:
        """Return the furthest cursor of each robot's devices."""
        furthest: dict[RobotName, int] = {}
        of_conv = {"_id": {"$gt": {"c": conv}, "$lt": {"c": conv + "\0"}}}
        async with self._database.session() as session:
            async for cursor in self._database.cursors.find(of_conv, session=session):
                robot = RobotName(cursor["_id"]["r"])
                furthest[robot] = max(cursor["seq"], furthest.get(robot, 0))
        return furthest

    async def _write(self, session: Session) -> None:
        least: dict[ConversationName, int] = {}
        for cursor in self._kept:
            least[cursor.conv] = max(cursor.seq, least.get(cursor.conv, 0))
        heads = await self._appender.heads(least, session)
        furthest: dict[tuple[str, str, str], int] = {}
        for cursor in self._kept:
            if 0 <= cursor.seq <= (heads[cursor.conv] or -1):
                key = (cursor.conv, cursor.robot, cursor.device)
                furthest[key] = max(cursor.seq, furthest.get(key, 0))
        moves = [
            UpdateOne(
                {"_id": {"c": conv, "r": robot, "d": device}}, {"$max": {"seq": seq}}, upsert=True
            )
            for (conv, robot, device), seq in furthest.items()
        ]
        if moves:
            await self._database.cursors.bulk_write(moves, ordered=False, session=session)
