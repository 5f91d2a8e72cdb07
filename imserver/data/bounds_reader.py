"""Asks a shared store for the bounds of logs: those who wait at the same time ask together."""

import asyncio

from imserver.data.store import Bounds, BoundsOfLogs
from imserver.protocol.names import ConversationName


class _Round:
    """One question to the store, not yet begun or under way."""

    def __init__(self) -> None:
        self.convs: set[ConversationName] = set()
        self.found: dict[ConversationName, Bounds] | None = None


class BoundsReader:
    """Reads bounds; what comes while one question is under way goes into the next one."""

    def __init__(self, store: BoundsOfLogs) -> None:
        self._store = store
        self._turn = asyncio.Lock()
        self._next = _Round()

    async def now(self, conv: ConversationName) -> Bounds | None:
        """Return a log's bounds, as of a moment after this call began; None if there is no record of it.

        Raises:
            StoreUnavailable: as `BoundsOfLogs.bounds`.
        """
        joined = self._next
        joined.convs.add(conv)
        async with self._turn:
            if (
                joined.found is None
            ):  # the first one of the round to get its turn; or it failed for that one
                if joined is self._next:
                    self._next = _Round()
                joined.found = await self._store.bounds(list(joined.convs))
        return joined.found.get(conv)
