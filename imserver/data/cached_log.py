"""The log of a shared store, with a cache beside it for what many nodes read at the same time.

Only `read_after`, and with it `read_page`, looks there: when many readers have missed the same, each node
would ask the store for the same pages. Everything else goes to the store as it is.

Why it is never wrong, whatever the cache answers:

- A value is only believed if its digest says that this deployment has kept it in this place (`cached_block`).
  It holds events that had been read from the store, so they are durable, and an event never changes for as
  long as it is kept: conversation, epoch and seq name it for good.
- That the epoch is still that one, and that retention has not let the events go, is asked of the store
  itself, after the read began: one small document, for all reads together that wait for it (`Bounds`). So
  what the cache gives is what the store would have given at that moment.
- What the cache does not have, or has only in part, is read from the store. An absent, slow or emptied cache
  costs time, and no answer.

Nothing is put there but what the store has just given out, so never before it is stored. What is put is
labelled with an epoch that was read before the events were; if it changed in between, the label is the old
one, under which nobody looks any more.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from imserver.core.errors import StoreCorrupt
from imserver.data.bounds_reader import BoundsReader
from imserver.data.cache import Cache
from imserver.data.cache_metrics import CacheCounts
from imserver.data.cached_block import Place, block_of, joined, seal, unseal
from imserver.data.cached_page import Page, Wanted
from imserver.data.packing import Packing
from imserver.data.store import BoundsOfLogs, EventLog
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName

BLOCKS_MAX: Final = 64
EPOCHS_MAX: Final = 100_000
_USUAL_BYTES: Final = 256


class CachedLog(Packing):
    """An `EventLog` over another one.

    Args:
        bounds: of the same store.
        secret: known to the nodes of this deployment only; at most 64 bytes.
    """

    def __init__(
        self,
        log: EventLog,
        bounds: BoundsOfLogs,
        cache: Cache,
        *,
        secret: bytes,
        counts: CacheCounts,
    ) -> None:
        self._log = log
        self._cache = cache
        self._secret = secret
        self._counts = counts
        self._bounds = BoundsReader(bounds)
        self._epochs: OrderedDict[ConversationName, str] = OrderedDict()
        self._usual_bytes = _USUAL_BYTES

        self.append = log.append
        self.read_before = log.read_before
        self.read_one = log.read_one
        self.amendments = log.amendments
        self.first_kept = log.first_kept
        self.trim = log.trim

    async def read_after(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        wanted = Wanted(conv, max(after, 0), limit, bytes_max)
        if limit <= 0 or not self._cache.is_open:
            return await self._read(wanted)
        epoch = self._epochs.get(conv) or await self._learn_epoch(conv)
        if epoch is None:
            return await self._read(wanted)
        found: dict[int, list[Event]] = {}
        page = await self._look(wanted, epoch, found)
        if page.events and not await self._is_kept(conv, epoch, page.events[0].seq):
            self._counts.outdated += 1
            return await self._read(wanted)
        self._counts.from_cache += len(page.events)
        return page.events if page.is_full else await self._complete(page, epoch, found)

    async def _learn_epoch(self, conv: ConversationName) -> str | None:
        """Ask the store for a log's epoch, and remember it; None if there is no record of it yet."""
        bounds = await self._bounds.now(conv)
        if bounds is None:
            return None
        self._epochs[conv] = bounds.epoch
        if len(self._epochs) > EPOCHS_MAX:
            self._epochs.popitem(last=False)
        return bounds.epoch

    async def _is_kept(self, conv: ConversationName, epoch: str, seq: int) -> bool:
        """Ask the store whether it keeps the log from ``seq`` on, under this epoch."""
        bounds = await self._bounds.now(conv)
        if bounds is None or bounds.epoch != epoch:
            self._epochs.pop(conv, None)
            return False
        return bounds.floor <= seq

    async def _look(self, wanted: Wanted, epoch: str, found: dict[int, list[Event]]) -> Page:
        """Return as much of a page as the cache has without a hole, and note the runs that it has."""
        page = Page(wanted)
        seq = wanted.after + 1
        while not page.is_full:
            likely = min(page.rest.limit, page.rest.bytes_max // self._usual_bytes + 1)
            last = min(block_of(seq + likely - 1), block_of(seq) + BLOCKS_MAX - 1)
            places = [Place(wanted.conv, epoch, n) for n in range(block_of(seq), last + 1)]
            values = await self._cache.get(wanted.conv, [place.name for place in places])
            for place, value in zip(places, values, strict=True):
                run = found[place.block] = self._opened(place, value)
                reached = _fill(page, run, seq)
                if block_of(reached) == place.block:
                    return page  # a hole, or the page is full
                seq = reached
        return page

    def _opened(self, place: Place, value: bytes | None) -> list[Event]:
        if value is None:
            return []
        run = unseal(place, value, secret=self._secret)
        if run is None:
            self._counts.refused += 1
        return run or []

    async def _complete(self, page: Page, epoch: str, found: dict[int, list[Event]]) -> list[Event]:
        """Return a page with what it lacked, which is read from the store, and kept."""
        try:
            read = await self._read(page.rest)
        except StoreCorrupt:
            if not page.events:
                raise
            return page.events  # a page of the store, too, ends where it is damaged
        if page.events and read and read[0].seq != page.events[-1].seq + 1:
            # Some were let go since it was asked how far that has come: the page begins behind them.
            return await self._read(page.wanted)
        self._keep(page.wanted.conv, epoch, read, found)
        for event in read:
            page.add(event)
        return page.events

    async def _read(self, wanted: Wanted) -> list[Event]:
        conv, after, limit, bytes_max = wanted
        events = await self._log.read_after(conv, after, limit=limit, bytes_max=bytes_max)
        self._counts.from_store += len(events)
        return events

    def _keep(
        self,
        conv: ConversationName,
        epoch: str,
        events: Sequence[Event],
        found: dict[int, list[Event]],
    ) -> None:
        """Put events into the cache, joined with the runs of their blocks that were found there."""
        if not events:
            return
        mean = sum(len(event.body) for event in events) // len(events)
        self._usual_bytes = 1 + (self._usual_bytes + mean) // 2
        by_block: dict[int, list[Event]] = {}
        for event in events:
            by_block.setdefault(block_of(event.seq), []).append(event)
        for block, run in by_block.items():
            place = Place(conv, epoch, block)
            value = seal(place, joined(found.get(block, []), run), secret=self._secret)
            if value is not None:
                self._cache.put(conv, place.name, value)


def _fill(page: Page, run: Sequence[Event], seq: int) -> int:
    """Add to a page what a run has from ``seq`` on; return the seq that is still wanted."""
    for event in run:
        if event.seq == seq:
            page.add(event)
            if page.is_full:
                break
            seq += 1
    return seq
