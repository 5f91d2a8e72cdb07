"""How far devices have come, in memory: a part of the store in memory."""

from collections.abc import Sequence

from imserver.core.model import Cursor
from imserver.protocol.names import ConversationName, DeviceName, RobotName


class MemoryCursors:
    """What `MemoryStore` has of `Cursors`, but for what it shares with the logs."""

    def __init__(self) -> None:
        self._cursors: dict[ConversationName, dict[tuple[RobotName, DeviceName], int]] = {}

    async def move_cursors(self, cursors: Sequence[Cursor]) -> None:
        for cursor in cursors:
            if 0 <= cursor.seq <= self._head(cursor.conv):
                devices = self._cursors.setdefault(cursor.conv, {})
                key = (cursor.robot, cursor.device)
                devices[key] = max(cursor.seq, devices.get(key, 0))

    async def acked(self, conv: ConversationName) -> dict[RobotName, int]:
        furthest: dict[RobotName, int] = {}
        for (robot, _), seq in self._cursors.get(conv, {}).items():
            furthest[robot] = max(seq, furthest.get(robot, 0))
        return furthest

    def _head(self, conv: ConversationName) -> int:
        """Return the head of a log, or -1 if there is none."""
        raise NotImplementedError
