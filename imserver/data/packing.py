"""Gives out the pages of a log packed, for engines that do not keep their events so."""

from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName
from imserver.protocol.packed_events import PackedEvents, pack


class Packing:
    """Adds `EventLog.read_page` to what has `EventLog.read_after`."""

    async def read_after(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        raise NotImplementedError

    async def read_page(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> PackedEvents | None:
        return pack(await self.read_after(conv, after, limit=limit, bytes_max=bytes_max))
