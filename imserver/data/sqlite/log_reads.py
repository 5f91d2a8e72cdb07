"""The reading half of `EventLog` and `Cursors` in an embedded store: a call goes to a reading thread."""

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from imserver.core.errors import EventMissing
from imserver.core.model import Keep
from imserver.data.sqlite.reader import Reader
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName, RobotName
from imserver.protocol.packed_events import PackedEvents

P = ParamSpec("P")
R = TypeVar("R")


class LogReads:
    """Reads of the logs, and of how far robots have come; methods are as in the ports."""

    async def read_after(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        return await self._read(Reader.read_after, conv, after, limit=limit, bytes_max=bytes_max)

    async def read_page(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> PackedEvents | None:
        return await self._read(Reader.read_page, conv, after, limit=limit, bytes_max=bytes_max)

    async def read_before(
        self, conv: ConversationName, before: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        return await self._read(Reader.read_before, conv, before, limit=limit, bytes_max=bytes_max)

    async def read_one(self, conv: ConversationName, seq: int) -> Event | None:
        try:
            page = await self.read_after(conv, seq - 1, limit=1, bytes_max=0)
        except EventMissing:
            return None
        return page[0] if page and page[0].seq == seq else None

    async def amendments(
        self, conv: ConversationName, seqs: Sequence[int], *, until: int
    ) -> dict[int, Event]:
        return await self._read(Reader.amendments, conv, seqs, until)

    async def first_kept(self, conv: ConversationName, keep: Keep) -> int:
        return await self._read(Reader.first_kept, conv, keep)

    async def acked(self, conv: ConversationName) -> dict[RobotName, int]:
        return await self._read(Reader.acked, conv)

    async def _read(
        self, method: Callable[Concatenate[Reader, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        raise NotImplementedError
