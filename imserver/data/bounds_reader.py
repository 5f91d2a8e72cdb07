"""Asks a shared store for the bounds of logs: those who wait at the same time ask together."""

import asyncio

from imserver.core.errors import StoreUnavailable
from imserver.data.store import Bounds, BoundsOfLogs
from imserver.protocol.names import ConversationName


class _Round:
    """One question to the store, not yet begun, under way, or answered."""

    def __init__(self) -> None:
        self.convs: set[ConversationName] = set()
        self.found: dict[ConversationName, Bounds] | None = None
        self.failure: StoreUnavailable | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is no answer yet, nor will be without another question."""
        return self.found is None and self.failure is None


class BoundsReader:
    """Reads bounds; what comes while one question is under way goes into the next one."""

    def __init__(self, store: BoundsOfLogs) -> None:
        self._store = store
        self._turn = asyncio.Lock()
        self._next = _Round()

    async def now(self, conv: ConversationName) -> Bounds | None:
        """Return a log's bounds, as of a moment after this call began; None if there is no record of it.

        Raises:
            StoreUnavailable: as `BoundsOfLogs.bounds`; all who asked together learn it from one question.
        """
        joined = self._next
        joined.convs.add(conv)
        async with self._turn:
            # Who asked for the others may have been cancelled; then the next of them does.
            if joined.is_open:
                await self._ask(joined)
        if joined.found is None:
            raise StoreUnavailable(str(joined.failure)) from joined.failure
        return joined.found.get(conv)

    async def _ask(self, joined: _Round) -> None:
        if joined is self._next:
            self._next = _Round()
        try:
            joined.found = await self._store.bounds(list(joined.convs))
        except StoreUnavailable as exc:
            joined.failure = exc
