"""The store on MongoDB with a cache on Redis beside it keeps the contract of a store, and is asked less."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings

from imserver.core.tasks import TaskScope
from imserver.data.cache_metrics import CacheCounts
from imserver.data.cached_log import CachedLog
from imserver.data.fill_budget import FillBudget
from imserver.data.mongo.store import MongoStore
from imserver.data.redis import cache as redis_cache
from imserver.data.redis.cache import RedisCache
from imserver.data.store import Store
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName
from imserver.route.redis_client import connect
from tests.contract.records import EVERYTHING, LINE, events, store_all
from tests.contract.retention_contract import RetentionContract
from tests.contract.store_contract import any_calls, compare_with_model
from tests.mongo_server import MongoSet
from tests.redis_server import RedisServer, redis_process
from tests.until import PATIENCE_S

ROOMY = 2**30
_prefixes = itertools.count()


class Cached:
    """A `Store` whose pages are read through a cache, cold and warm, and compared with what it has itself.

    Attributes:
        counts: of the cache.
    """

    def __init__(self, store: MongoStore, cache: RedisCache) -> None:
        self._store = store
        self._cache = cache
        self.counts = CacheCounts()
        self.log = CachedLog(store, store, cache, secret=b"test", counts=self.counts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read_after(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        plain = await self._store.read_after(conv, after, limit=limit, bytes_max=bytes_max)
        for _ in range(2):
            page = await self.log.read_after(conv, after, limit=limit, bytes_max=bytes_max)
            assert page[: len(plain)] == plain, "what was written meanwhile may follow"
            while self._cache._queue:
                await asyncio.sleep(0)
        return page


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Redis the time that it may need where all processors are busy."""
    monkeypatch.setattr(redis_cache, "DEADLINE_S", 5.0)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_process() as redis:
        yield redis


@asynccontextmanager
async def running(redis: RedisServer, prefix: str) -> AsyncIterator[RedisCache]:
    budget = FillBudget(window_s=60, bytes_max=ROOMY, log_bytes_max=ROOMY)
    cache = RedisCache(connect(redis.url), prefix=prefix, expire_s=60, budget=budget)
    async with TaskScope() as scope:
        scope.spawn(cache.run(), name="cache")
        async with asyncio.timeout(PATIENCE_S):
            while not cache.is_open:
                await asyncio.sleep(0.001)
        yield cache
        scope.cancel_all()


@asynccontextmanager
async def cached(servers: MongoSet, redis: RedisServer, prefix: str = "") -> AsyncIterator[Cached]:
    url = servers.url("contract")
    servers.empty(url)
    store = await MongoStore.open(url)
    async with running(redis, prefix or f"test{next(_prefixes)}") as cache:
        yield Cached(store, cache)
    await store.aclose()


class TestCachedStore(RetentionContract):
    servers: MongoSet
    redis: RedisServer

    @pytest.fixture(autouse=True)
    def _servers(self, mongo_set: MongoSet, redis: RedisServer) -> None:
        type(self).servers, type(self).redis = mongo_set, redis

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        async with self.fresh_store() as store:
            yield store

    @classmethod
    @asynccontextmanager
    async def fresh_store(cls) -> AsyncIterator[Store]:
        async with cached(cls.servers, cls.redis) as store:
            yield cast(Store, store)

    @settings(max_examples=8, suppress_health_check=[HealthCheck.differing_executors])
    @given(calls=any_calls)
    def test_any_calls_end_as_in_the_model(self, calls) -> None:
        compare_with_model(self.fresh_store, calls)


async def test_pages_come_from_the_cache_as_they_are_in_the_store(mongo_set, redis):
    async with cached(mongo_set, redis) as store:
        log = await store_all(cast(Store, store), events(300, LINE))
        for after in (0, 7, 250):
            page = await store.read_after(LINE, after, limit=300 - after, bytes_max=EVERYTHING)
            assert page == log[after:]
        assert store.counts.from_store == 300
        assert store.counts.from_cache == 300 + 2 * 293 + 2 * 50
        assert (store.counts.refused, store.counts.outdated) == (0, 0)


async def test_an_emptied_or_dead_redis_in_mid_read_changes_no_page(mongo_set):
    with redis_process() as own:
        async with cached(mongo_set, own) as store, connect(own.url) as client:
            log = await store_all(cast(Store, store), events(2_000, LINE))

            async def read_all() -> list[Event]:
                found: list[Event] = []
                while len(found) < len(log):
                    found += await store.log.read_after(
                        LINE, len(found), limit=100, bytes_max=EVERYTHING
                    )
                return found

            async def empty_again_and_again() -> None:
                while True:
                    await client.flushall()
                    await asyncio.sleep(0.005)

            await read_all()
            emptying = asyncio.create_task(empty_again_and_again())
            readers = await asyncio.gather(*(read_all() for _ in range(5)))
            emptying.cancel()
            assert readers == [log] * 5
            reading = [asyncio.create_task(read_all()) for _ in range(5)]
            await asyncio.sleep(0.01)
            own.kill()
            assert await asyncio.gather(*reading) == [log] * 5


async def test_a_replica_that_is_behind_when_it_takes_over_changes_no_page(mongo_set):
    with (
        redis_process("--repl-diskless-sync-delay", "0") as primary,
        redis_process("--replicaof", f"127.0.0.1 {primary.port}") as replica,
    ):
        async with cached(mongo_set, primary, "test") as before:
            await store_all(cast(Store, before), events(100, LINE))
            await before.read_after(LINE, 0, limit=100, bytes_max=EVERYTHING)
            async with connect(replica.url) as client, asyncio.timeout(PATIENCE_S):
                while len(await client.keys("*")) < 8:
                    await asyncio.sleep(0.01)
                await client.replicaof("NO", "ONE")
            async with running(replica, "test") as cache:
                after = Cached(before._store, cache)
                await after.trim(LINE, 60, limit=1_000)
                await store_all(cast(Store, before), events(100, LINE, prefix="d"))
                whole = await before.read_after(LINE, 0, limit=200, bytes_max=EVERYTHING)
                assert [event.seq for event in whole] == list(range(60, 201))
                for seq in (0, 20, 59, 70, 120):
                    await after.read_after(LINE, seq, limit=50, bytes_max=EVERYTHING)
                assert after.counts.outdated and after.counts.from_cache
