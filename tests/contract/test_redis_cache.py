"""The cache on a real Redis keeps the contract, and goes out of the way when Redis is in trouble."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from imserver.core.tasks import TaskScope
from imserver.data.fill_budget import FillBudget
from imserver.data.redis import cache as redis_cache
from imserver.data.redis.cache import RedisCache
from imserver.route.redis_client import connect
from tests.contract.cache_contract import (
    BYTES_MAX,
    LOG_BYTES_MAX,
    A,
    CacheContract,
    kept,
)
from tests.redis_cluster import RedisClusterServers
from tests.redis_server import RedisServer, redis_process
from tests.slow_proxy import slow_proxy
from tests.until import PATIENCE_S, until


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Redis the time that it may need where all processors are busy."""
    monkeypatch.setattr(redis_cache, "DEADLINE_S", 5.0)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_process() as server:
        yield server


def made(url: str, *, prefix: str = "test") -> RedisCache:
    budget = FillBudget(window_s=60, bytes_max=BYTES_MAX, log_bytes_max=LOG_BYTES_MAX)
    return RedisCache(connect(url), prefix=prefix, expire_s=60, budget=budget)


@asynccontextmanager
async def running(*caches: RedisCache) -> AsyncIterator[None]:
    async with TaskScope() as scope:
        for cache in caches:
            scope.spawn(cache.run(), name="cache")
        await until(lambda: all(cache.is_open for cache in caches))
        yield
        scope.cancel_all()


class TestRedisCache(CacheContract):
    @pytest.fixture
    async def cache(self, server: RedisServer) -> AsyncIterator[RedisCache]:
        cache = made(server.url)
        async with running(cache):
            yield cache


class TestRedisClusterCache(CacheContract):
    @pytest.fixture
    async def cache(
        self, shared_redis_cluster: RedisClusterServers, request: pytest.FixtureRequest
    ) -> AsyncIterator[RedisCache]:
        cache = made(shared_redis_cluster.url, prefix=request.node.name)
        async with running(cache):
            yield cache


async def test_nodes_of_one_deployment_share_it_and_others_do_not(server):
    one, other, stranger = made(server.url), made(server.url), made(server.url, prefix="else")
    async with running(one, other, stranger):
        one.put(A, "it", b"1")
        await kept(other, A, "it", b"1")
        assert await stranger.get(A, ["it"]) == [None]


async def test_everything_in_redis_expires(server):
    cache = made(server.url)
    async with running(cache), connect(server.url) as redis:
        cache.put(A, "it", b"1")
        await kept(cache, A, "it", b"1")
        keys = await redis.keys("*")
        assert len(keys) == 2
        for key in keys:
            assert 0 < await redis.pttl(key) <= 60_000


async def test_an_emptied_redis_is_filled_again(server):
    cache = made(server.url)
    async with running(cache), connect(server.url) as redis:
        cache.put(A, "it", b"1")
        await kept(cache, A, "it", b"1")
        await redis.flushall()
        assert await cache.get(A, ["it"]) == [None]
        cache.put(A, "it", b"2")
        await kept(cache, A, "it", b"2")


async def test_what_was_kept_before_all_nodes_stopped_is_not_found(server, monkeypatch):
    monkeypatch.setattr(redis_cache, "LEASE_S", 2.0)
    monkeypatch.setattr(redis_cache, "BEAT_S", 0.05)
    first, joins = made(server.url), made(server.url)
    async with running(first):
        first.put(A, "it", b"1")
        await kept(first, A, "it", b"1")
        async with running(joins):
            assert await joins.get(A, ["it"]) == [b"1"]
    async with connect(server.url) as redis:
        async with asyncio.timeout(PATIENCE_S):
            while await redis.exists("test:cache"):
                await asyncio.sleep(0.01)
        assert len(await redis.keys("test:log:*")) == 1, "it is still there"
    later = made(server.url)
    async with running(later):
        assert await later.get(A, ["it"]) == [None]


async def test_a_node_that_was_cut_off_for_longer_than_a_lease_begins_anew(server, monkeypatch):
    monkeypatch.setattr(redis_cache, "LEASE_S", 1.0)
    monkeypatch.setattr(redis_cache, "BEAT_S", 0.05)
    cache = made(server.url)
    async with running(cache):
        cache.put(A, "it", b"1")
        await kept(cache, A, "it", b"1")
        before = cache._generation
        server.pause()
        await until(lambda: not cache.is_open)  # which takes longer than a lease lasts
        server.go_on()
        await until(lambda: cache.is_open)
        assert cache._generation != before
        assert await cache.get(A, ["it"]) == [None]


async def test_a_dead_redis_is_not_asked_and_a_living_one_is_found_again(server):
    cache = made(server.url)
    async with running(cache):
        server.kill()
        async with asyncio.timeout(PATIENCE_S):
            while cache.is_open:
                assert await cache.get(A, ["it"]) == [None]
        cache.put(A, "it", b"1")
        assert not cache._queue
        server.start()
        await until(lambda: cache.is_open)
        cache.put(A, "it", b"2")
        await kept(cache, A, "it", b"2")


async def test_a_slow_redis_is_given_up_and_nobody_waits_for_it_again(server, monkeypatch):
    async with slow_proxy(server.port, delay_s=0) as proxy:
        cache = made(proxy.url)
        async with running(cache):
            cache.put(A, "it", b"1")
            await kept(cache, A, "it", b"1")
            proxy.delay_s = 5.0
            monkeypatch.setattr(redis_cache, "DEADLINE_S", 0.1)
            assert await cache.get(A, ["it"]) == [None]
            assert not cache.is_open
            asked = proxy.bytes_up
            question = asyncio.ensure_future(cache.get(A, ["it"]))
            await asyncio.sleep(0)
            assert question.done() and question.result() == [None], "it does not even begin"
            assert proxy.bytes_up == asked
            proxy.delay_s = 0
            monkeypatch.setattr(redis_cache, "DEADLINE_S", 5.0)
            await until(lambda: cache.is_open)
            await kept(cache, A, "it", b"1")


async def test_not_more_than_some_wait_for_it_at_a_time(server, monkeypatch):
    monkeypatch.setattr(redis_cache, "ASKING_MAX", 2)
    cache = made(server.url)
    async with running(cache):
        cache.put(A, "it", b"1")
        await kept(cache, A, "it", b"1")
        found = await asyncio.gather(*(cache.get(A, ["it"]) for _ in range(5)))
        assert found == [[b"1"], [b"1"], [None], [None], [None]]
