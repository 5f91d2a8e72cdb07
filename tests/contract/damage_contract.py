"""What every engine must do with a log in which events are missing, if its logs can be damaged at all.

An engine's test class gives ``lose``, which takes events out of a log as no engine does.
"""

from collections.abc import Callable

import pytest
from msgspec import structs

from imserver.core.errors import StoreCorrupt
from imserver.core.model import Keep
from imserver.data.store import Store
from imserver.protocol.names import ConversationName
from tests.contract.records import EVERYTHING, LINE, event, events, seqs, store_all

Lose = Callable[[ConversationName, int, int], None]


class DamageContract:
    """No page reaches across a hole, and none begins beside one as if the log ended there."""

    @pytest.mark.parametrize("limit", [3, 10, 100])
    async def test_pages_forwards_end_before_a_hole(
        self, store: Store, lose: Lose, limit: int
    ) -> None:
        await store_all(store, events(40, LINE))
        lose(LINE, 11, 25)
        before = await store.read_after(LINE, 8, limit=limit, bytes_max=EVERYTHING)
        assert seqs(before) == [9, 10]
        page = await store.read_page(LINE, 8, limit=limit, bytes_max=EVERYTHING)
        assert page is not None
        assert (page.first, page.last, page.events) == (9, 10, before)
        for after in (10, 15, 24):
            with pytest.raises(StoreCorrupt, match=f"event {after + 1} is missing"):
                await store.read_after(LINE, after, limit=limit, bytes_max=EVERYTHING)
            with pytest.raises(StoreCorrupt, match=f"event {after + 1} is missing"):
                await store.read_page(LINE, after, limit=limit, bytes_max=0)
        behind = await store.read_after(LINE, 25, limit=limit, bytes_max=EVERYTHING)
        assert seqs(behind) == list(range(26, min(26 + limit, 41)))
        assert await store.read_after(LINE, 40, limit=limit, bytes_max=EVERYTHING) == []

    @pytest.mark.parametrize("limit", [3, 10, 100])
    async def test_pages_backwards_end_behind_a_hole(
        self, store: Store, lose: Lose, limit: int
    ) -> None:
        await store_all(store, events(40, LINE))
        lose(LINE, 11, 25)
        behind = await store.read_before(LINE, 28, limit=limit, bytes_max=EVERYTHING)
        assert seqs(behind) == [26, 27]
        for before in (26, 20, 12):
            with pytest.raises(StoreCorrupt, match=f"event {before - 1} is missing"):
                await store.read_before(LINE, before, limit=limit, bytes_max=EVERYTHING)
        ahead = await store.read_before(LINE, 11, limit=limit, bytes_max=EVERYTHING)
        assert seqs(ahead) == list(range(max(11 - limit, 1), 11))
        for before in (41, 99, 2**53 - 1):
            newest = await store.read_before(LINE, before, limit=2, bytes_max=EVERYTHING)
            assert seqs(newest) == [39, 40]

    async def test_a_hole_at_the_begin_is_one_above_the_floor_only(
        self, store: Store, lose: Lose
    ) -> None:
        await store_all(store, events(40, LINE))
        await store.trim(LINE, 5, limit=100)
        assert await store.read_before(LINE, 5, limit=9, bytes_max=EVERYTHING) == []
        assert await store.read_before(LINE, 3, limit=9, bytes_max=EVERYTHING) == []
        lose(LINE, 5, 30)
        with pytest.raises(StoreCorrupt, match="event 5 is missing"):
            await store.read_after(LINE, 0, limit=9, bytes_max=EVERYTHING)
        with pytest.raises(StoreCorrupt, match="event 30 is missing"):
            await store.read_before(LINE, 31, limit=9, bytes_max=EVERYTHING)

    async def test_a_page_of_no_events_asks_nothing(self, store: Store, lose: Lose) -> None:
        await store_all(store, events(9, LINE))
        lose(LINE, 1, 5)
        assert await store.read_after(LINE, 0, limit=0, bytes_max=EVERYTHING) == []
        assert await store.read_before(LINE, 5, limit=0, bytes_max=EVERYTHING) == []

    async def test_a_missing_event_is_none(self, store: Store, lose: Lose) -> None:
        await store_all(store, events(9, LINE))
        lose(LINE, 3, 5)
        assert [await store.read_one(LINE, seq) for seq in (3, 5, 12)] == [None, None, None]

    async def test_young_events_are_kept_behind_a_hole(self, store: Store, lose: Lose) -> None:
        asked = [structs.replace(event(f"c{n}", LINE), ts=n) for n in range(1, 2501)]
        await store_all(store, asked)
        lose(LINE, 200, 2300)
        found = [await store.first_kept(LINE, Keep(since_ms=since)) for since in (150, 999, 2400)]
        assert found == [150, 2301, 2400]
