"""Gives up calls that wait at a primary which has had a successor.

A primary that is cut off from its set, and that its clients still reach, answers nothing: it waits for a
majority that will not come. When it notices and gives up its office it ends the writes, and not the reads.
The driver sends what is asked from then on to the new primary, and leaves alone what is under way. So those
calls would last as long as their callers have patience, and a batch of events, which goes with them, too.

What became of such a call is unknown, as with a broken connection, and is found out in the same way.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pymongo.errors import AutoReconnect
from pymongo.monitoring import (
    TopologyClosedEvent,
    TopologyDescriptionChangedEvent,
    TopologyListener,
    TopologyOpenedEvent,
)

NOTICE_S: Final = 1.0
"""The driver tells of a new primary up to a second after it began to use it; a call that is younger than
that may be waiting for the new one, and gets so long."""


class Succession(TopologyListener):
    """Knows who is primary, and the calls that are under way."""

    def __init__(self) -> None:
        self._primary: tuple[str, int | None] | None = None
        self._calls: dict[asyncio.Timeout, float] = {}

    @asynccontextmanager
    async def heeded(self) -> AsyncIterator[None]:
        """Let the calls of the body last no longer than the primary that they were sent to.

        Raises:
            AutoReconnect: there is a new one.
        """
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._calls[scope] = asyncio.get_running_loop().time()
                try:
                    yield
                finally:
                    del self._calls[scope]
        except TimeoutError as exc:
            if not scope.expired():
                raise
            raise AutoReconnect("another primary was elected meanwhile") from exc

    def description_changed(self, event: TopologyDescriptionChangedEvent) -> None:
        """Take in what the driver knows of the set."""
        servers = event.new_description.server_descriptions()
        primary = next((a for a, s in servers.items() if s.server_type_name == "RSPrimary"), None)
        if primary is None or primary == self._primary:
            return
        before, self._primary = self._primary, primary
        if before is not None:
            now_s = asyncio.get_running_loop().time()
            for scope, began_s in self._calls.items():
                if not scope.expired():  # by the succession before
                    scope.reschedule(max(now_s, began_s + NOTICE_S))

    def opened(self, event: TopologyOpenedEvent) -> None:
        """Do nothing: nobody waits as yet."""

    def closed(self, event: TopologyClosedEvent) -> None:
        """Do nothing: the driver ends all calls."""
