"""A log with a cache beside it reads as it does without, whatever becomes of the cache."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from imserver.core.errors import StoreCorrupt, StoreUnavailable
from imserver.core.model import Append, Created
from imserver.data import cached_block
from imserver.data.cache_metrics import CacheCounts
from imserver.data.cached_block import BLOCK_EVENTS, Place, joined, seal, unseal
from imserver.data.cached_log import CachedLog
from imserver.data.memory.cache import MemoryCache
from imserver.data.memory.store import MemoryStore
from imserver.data.store import Bounds
from imserver.protocol.events import Event, Role
from imserver.protocol.names import ConversationName, RobotName

R1 = RobotName("r1")
A, B = ConversationName("g/a"), ConversationName("g/b")
SECRET = b"s" * 32
ROOMY = 10**9


class Shared(MemoryStore):
    """A store that tells the bounds of its logs, and counts what is read.

    Attributes:
        epochs: other epochs that conversations have meanwhile.
        before_page: called before each page is read.
        is_away: it does not tell bounds.
        is_damaged: no page can be read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[tuple[ConversationName, int, int]] = []
        self.bounds_asked: list[set[ConversationName]] = []
        self.epochs: dict[ConversationName, str] = {}
        self.before_page: Callable[[], Any] | None = None
        self.is_away = False
        self.is_damaged = False

    async def read_after(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        self.pages.append((conv, after, limit))
        if self.before_page is not None:
            await self.before_page()
        if self.is_damaged:
            raise StoreCorrupt("an event is missing")
        return await super().read_after(conv, after, limit=limit, bytes_max=bytes_max)

    async def bounds(self, convs: Sequence[ConversationName]) -> dict[ConversationName, Bounds]:
        self.bounds_asked.append(set(convs))
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("it does not answer")
        records = [await self.conversation(conv) for conv in convs]
        return {
            record.conv: Bounds(self.epochs.get(record.conv, record.epoch), record.floor)
            for record in records
            if record is not None
        }

    async def fill(self, conv: ConversationName, count: int, *, size: int = 3) -> None:
        """Have a log of so many events."""
        record = await self.conversation(conv)
        head = 0 if record is None else record.head
        events = [append(conv, f"{head + n}", bytes([n % 128]) * size) for n in range(count)]
        if record is None and count:
            change = Created({R1: Role.OWNER}, open=False)
            events[0] = append(conv, "0", b"\x80", change=change)
        await self.append(events)


def append(conv: ConversationName, cid: str, body: bytes, **more: Any) -> Append:
    return Append(conv, 1_000, R1, cid, "message", body, **more)


def plain(store: MemoryStore, *asked: Any, **more: Any) -> Any:
    return MemoryStore.read_after(store, *asked, **more)


@pytest.fixture
def store() -> Shared:
    return Shared()


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache(bytes_max=ROOMY, log_bytes_max=ROOMY)


@pytest.fixture
def counts() -> CacheCounts:
    return CacheCounts()


@pytest.fixture
def log(store: Shared, cache: MemoryCache, counts: CacheCounts) -> CachedLog:
    return CachedLog(store, store, cache, secret=SECRET, counts=counts)


async def seqs(log: CachedLog, after: int, *, limit: int = 1_000, conv=A) -> list[int]:
    events = await log.read_after(conv, after, limit=limit, bytes_max=ROOMY)
    return [event.seq for event in events]


async def test_what_is_cached_ahead_of_damage_is_given_out(log, store):
    await store.fill(A, 100)
    assert await seqs(log, 0, limit=50) == list(range(1, 51))
    store.is_damaged = True
    assert await seqs(log, 0, limit=100) == list(range(1, 51))
    with pytest.raises(StoreCorrupt):
        await seqs(log, 50, limit=50)


async def test_what_was_read_once_is_not_read_from_the_store_again(log, store, counts):
    await store.fill(A, 100)
    first = await log.read_after(A, 0, limit=100, bytes_max=ROOMY)
    assert await log.read_after(A, 0, limit=100, bytes_max=ROOMY) == first
    assert await seqs(log, 50, limit=50) == list(range(51, 101))
    assert store.pages == [(A, 0, 100)]
    assert (counts.from_store, counts.from_cache) == (100, 150)


async def test_only_the_rest_of_a_page_is_read_from_the_store(log, store):
    await store.fill(A, 40)
    await seqs(log, 0, limit=40)
    await store.fill(A, 30)
    assert await seqs(log, 10) == list(range(11, 71))
    assert store.pages[1:] == [(A, 40, 970)]
    assert await seqs(log, 10, limit=60) == list(range(11, 71))
    assert len(store.pages) == 2


async def test_events_that_retention_let_go_are_not_given_out(log, store, counts):
    await store.fill(A, 50)
    await seqs(log, 0)
    await store.trim(A, 30, limit=100)
    assert await seqs(log, 0) == list(range(30, 51))
    assert await seqs(log, 20) == list(range(30, 51))
    assert counts.outdated == 2
    assert await seqs(log, 40, limit=5) == list(range(41, 46))


async def test_events_let_go_while_the_rest_is_read_are_left_out(log, store):
    await store.fill(A, 20)
    await seqs(log, 0)
    await store.fill(A, 30)

    async def let_go() -> None:
        await store.trim(A, 40, limit=100)

    store.before_page = let_go
    assert await seqs(log, 0) == list(range(40, 51))


async def test_events_of_another_epoch_are_not_given_out(log, store, cache, counts):
    await store.fill(A, 20)
    await seqs(log, 0)
    values = dict(cache._values)
    store.epochs[A] = "another"
    assert await seqs(log, 0, limit=20) == list(range(1, 21))
    assert counts.outdated == 1 and len(store.pages) == 2
    assert await seqs(log, 0, limit=20) == list(range(1, 21))
    assert len(store.pages) == 3, "now it is read and kept under that epoch"
    assert await seqs(log, 0, limit=20) == list(range(1, 21))
    assert len(store.pages) == 3
    assert values.items() <= cache._values.items()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value[:-1],
        lambda value: value[:20],
        lambda value: b"",
        lambda value: b"\x02" + value[1:],
        lambda value: value[:-5] + bytes([value[-5] ^ 1]) + value[-4:],
        lambda value: value[:5] + bytes([value[5] ^ 1]) + value[6:],
        lambda value: value + b"\x00",
    ],
)
async def test_a_value_that_is_not_as_it_was_put_counts_as_not_there(
    spoil, log, store, cache, counts
):
    await store.fill(A, 40)
    await seqs(log, 0, limit=40)
    key = next(iter(cache._values))
    cache._values[key] = spoil(cache._values[key])
    assert await seqs(log, 0, limit=40) == list(range(1, 41))
    assert counts.refused == 1
    assert await seqs(log, 0, limit=40) == list(range(1, 41))
    assert counts.refused == 1, "it was put right"


async def test_values_in_each_others_places_count_as_not_there(log, store, cache, counts):
    for conv in (A, B):
        await store.fill(conv, 16 if conv == A else 40)
        await seqs(log, 0, conv=conv, limit=40)
    one, *_, other = cache._values
    cache._values[one], cache._values[other] = cache._values[other], cache._values[one]
    for conv, count in ((A, 16), (B, 40)):
        assert await seqs(log, 0, conv=conv, limit=count) == list(range(1, count + 1))
    assert counts.refused == 2


async def test_what_another_deployment_keeps_is_not_believed(log, store, cache):
    await store.fill(A, 20)
    await seqs(log, 0)
    theirs = CacheCounts()
    stranger = CachedLog(store, store, cache, secret=b"another", counts=theirs)
    assert await seqs(stranger, 0, limit=20) == list(range(1, 21))
    assert (theirs.from_cache, theirs.refused) == (0, 1)


async def test_a_cache_that_is_closed_is_not_asked(log, store, cache, monkeypatch):
    monkeypatch.setattr(MemoryCache, "is_open", False)
    await store.fill(A, 20)
    for _ in range(2):
        assert await seqs(log, 0) == list(range(1, 21))
    assert not cache._values and not store.bounds_asked


async def test_readers_at_the_same_time_ask_for_bounds_together(log, store):
    for conv in (A, B):
        await store.fill(conv, 20)
        await seqs(log, 0, conv=conv)
    store.bounds_asked.clear()
    reads = [seqs(log, 0, conv=conv, limit=20) for conv in (A, B) * 50]
    found = await asyncio.gather(*reads)
    assert found == [list(range(1, 21))] * 100
    assert len(store.bounds_asked) <= 2
    assert set().union(*store.bounds_asked) == {A, B}


async def test_a_reader_that_is_cancelled_leaves_the_others_their_bounds(log, store):
    await store.fill(A, 20)
    await seqs(log, 0)
    reads = [asyncio.ensure_future(seqs(log, 0, limit=20)) for _ in range(10)]
    await asyncio.sleep(0)
    for each in reads[::2]:
        each.cancel()
    found = await asyncio.gather(*reads, return_exceptions=True)
    assert found[1::2] == [list(range(1, 21))] * 5


async def test_of_a_store_that_does_not_answer_all_who_wait_learn_from_one_question(log, store):
    await store.fill(A, 20)
    await seqs(log, 0)
    store.bounds_asked.clear()
    store.is_away = True
    reads = [seqs(log, 0, limit=20) for _ in range(50)]
    found = await asyncio.gather(*reads, return_exceptions=True)
    assert {type(each) for each in found} == {StoreUnavailable}
    assert len(store.bounds_asked) <= 2, (
        "or the last of them would wait as often as there are readers"
    )
    store.is_away = False
    assert await seqs(log, 0, limit=20) == list(range(1, 21))


async def test_a_conversation_that_is_not_there_has_no_events(log, store):
    for _ in range(2):
        assert await seqs(log, 0) == []


async def test_large_events_are_read_from_the_store(log, store, cache):
    await store.fill(A, 10, size=100_000)
    for _ in range(2):
        assert await seqs(log, 0) == list(range(1, 11))
    assert not cache._values and len(store.pages) == 2


async def test_pages_that_end_within_a_block_make_it_whole_bit_by_bit(log, store):
    await store.fill(A, 12, size=1_000)
    seen = 0
    while seen < 12:
        events = await log.read_after(A, seen, limit=100, bytes_max=2_500)
        seen = events[-1].seq
    asked = len(store.pages)
    assert await seqs(log, 0, limit=12) == list(range(1, 13))
    assert len(store.pages) == asked


def test_a_run_is_joined_with_what_touches_it():
    def run(first, last):
        return [
            Event(seq, 1, "r", "c", "message", Raw(b""), None) for seq in range(first, last + 1)
        ]

    assert joined([], run(3, 4)) == run(3, 4)
    assert joined(run(1, 2), run(3, 4)) == run(1, 4)
    assert joined(run(5, 9), run(3, 4)) == run(3, 9)
    assert joined(run(1, 9), run(3, 4)) == run(1, 9)
    assert joined(run(6, 9), run(3, 4)) == run(3, 4)
    assert joined(run(1, 1), run(3, 4)) == run(3, 4)


def test_a_block_reads_as_it_was_sealed_and_in_its_place_only():
    run = [Event(seq, 1, "r1", f"c{seq}", "message", Raw(b"\xa2hi"), 1) for seq in range(17, 20)]
    place = Place(A, "epoch", 1)
    value = seal(place, run, secret=SECRET)
    assert value is not None
    assert unseal(place, value, secret=SECRET) == run
    for other in (Place(B, "epoch", 1), Place(A, "other", 1), Place(A, "epoch", 2)):
        assert unseal(other, value, secret=SECRET) is None


class Treacherous(MemoryCache):
    """A cache that gives back what it likes of all that was ever put, and now and then something made up."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__(bytes_max=ROOMY, log_bytes_max=ROOMY)
        self._dice = dice
        self._ever: list[bytes] = []
        self._by_name: dict[tuple[str, str], list[bytes]] = {}

    def put(self, conv: ConversationName, name: str, value: bytes) -> None:
        self._ever.append(value)
        self._by_name.setdefault((conv, name), []).append(value)

    async def get(self, conv: ConversationName, names: Sequence[str]) -> list[bytes | None]:
        return [self._any(self._by_name.get((conv, name), [])) for name in names]

    def _any(self, own: list[bytes]) -> bytes | None:
        fate = self._dice.random()
        if fate < 0.6:
            return self._dice.choice(own) if own else None
        if fate < 0.8 or not self._ever:
            return None
        value = self._dice.choice(self._ever)
        return value if fate < 0.9 else value[: self._dice.randrange(len(value))]


_reads = st.tuples(
    st.just("read"),
    st.sampled_from((A, B)),
    st.integers(-1, 80),
    st.integers(0, 70),
    st.sampled_from((0, 5, 40, 200, ROOMY)),
)
_fills = st.tuples(st.just("fill"), st.sampled_from((A, B)), st.integers(1, 30), st.integers(1, 30))
_trims = st.tuples(st.just("trim"), st.sampled_from((A, B)), st.integers(1, 80))


@settings(max_examples=60, suppress_health_check=[HealthCheck.differing_executors])
@given(steps=st.lists(_reads | _reads | _fills | _trims, max_size=40), seed=st.integers(0, 2**32))
def test_it_reads_as_the_store_does_whatever_the_cache_answers(steps, seed):
    async def compare() -> None:
        store = Shared()
        log = CachedLog(
            store, store, Treacherous(random.Random(seed)), secret=SECRET, counts=CacheCounts()
        )
        for what, conv, *how in steps:
            if what == "fill":
                count, size = how
                await store.fill(conv, count, size=size)
            elif what == "trim":
                await store.trim(conv, how[0], limit=1_000)
            else:
                after, limit, bytes_max = how
                expected = await plain(store, conv, after, limit=limit, bytes_max=bytes_max)
                found = await log.read_after(conv, after, limit=limit, bytes_max=bytes_max)
                assert found == expected

    asyncio.run(compare())


def test_a_block_is_as_long_as_the_tests_take_it_to_be():
    assert BLOCK_EVENTS == 16 and cached_block.BLOCK_BYTES_MAX < 10 * 100_000
