"""Cursors in MongoDB: how far each device has come in each conversation."""

from collections.abc import Sequence
from functools import partial

from pymongo import UpdateOne

from imserver.core.model import Cursor
from imserver.data.mongo.append import Appender
from imserver.data.mongo.database import Database, Session
from imserver.protocol.names import ConversationName, RobotName


class Cursors:
    """Moves cursors forwards, and tells how far they are."""

    def __init__(self, database: Database, appender: Appender) -> None:
        self._database = database
        self._appender = appender

    async def move(self, cursors: Sequence[Cursor]) -> None:
        """Write cursors as `Cursors.move_cursors` of the port promises."""
        await self._database.until_known(partial(self._write, cursors))

    async def acked(self, conv: ConversationName) -> dict[RobotName, int]:
        """Return the furthest cursor of each robot's devices."""
        furthest: dict[RobotName, int] = {}
        of_conv = {"_id": {"$gt": {"c": conv}, "$lt": {"c": conv + "\0"}}}
        async with self._database.session() as session:
            async for cursor in self._database.cursors.find(of_conv, session=session):
                robot = RobotName(cursor["_id"]["r"])
                furthest[robot] = max(cursor["seq"], furthest.get(robot, 0))
        return furthest

    async def _write(self, cursors: Sequence[Cursor], session: Session) -> None:
        least: dict[ConversationName, int] = {}
        for cursor in cursors:
            least[cursor.conv] = max(cursor.seq, least.get(cursor.conv, 0))
        heads = await self._appender.heads(least, session)
        furthest: dict[tuple[str, str, str], int] = {}
        for cursor in cursors:
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
