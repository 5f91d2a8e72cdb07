"""A call of Redis that is cancelled leaves nobody else its reply: cancel storms behind a proxy that is slow.

Source of the fault: redis-py issues 2624 and 2665, by which users were shown what others had asked for.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from imserver.core.tasks import TaskScope
from imserver.data.fill_budget import FillBudget
from imserver.data.redis import cache as redis_cache
from imserver.data.redis.cache import RedisCache
from imserver.route.redis_client import connect_one
from tests.contract.cache_contract import A, kept
from tests.contract.test_attendance import R1, R2, R3, Holding
from tests.redis_server import RedisServer, redis_process
from tests.slow_proxy import slow_proxy

MANY = 1_000
SOME = 300
TOGETHER = 50
PATIENCE_S = 30.0
DELAY_S = 0.1
KEYS = 40


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_process() as server:
        yield server


async def storm(
    ask: Callable[[int], Awaitable[Any]],
    is_right: Callable[[int, Any], bool],
    dice: random.Random,
    *,
    count: int = SOME,
) -> int:
    """Ask in many tasks, cancel ``count`` of them at random; return how many were answered, all rightly."""
    cancelled = answered = 0
    while cancelled < count:
        numbers = [dice.randrange(KEYS) for _ in range(TOGETHER)]
        asking = [asyncio.ensure_future(ask(number)) for number in numbers]
        for task in asking:
            if dice.random() < 0.8:
                asyncio.get_running_loop().call_later(dice.uniform(0, DELAY_S * 1.2), task.cancel)
        found = await asyncio.gather(*asking, return_exceptions=True)
        for number, each in zip(numbers, found, strict=True):
            if isinstance(each, asyncio.CancelledError):
                cancelled += 1
            else:
                assert is_right(number, each), (number, each)
                answered += 1
    return answered


def in_use(redis: Redis) -> int:
    return len(redis.connection_pool._in_use_connections)


async def test_of_the_client(server, rng):
    async with slow_proxy(server.port, delay_s=DELAY_S) as proxy:
        redis = connect_one(proxy.url, deadline_s=PATIENCE_S)
        await asyncio.gather(*(redis.set(f"key-{n}", f"value-{n}") for n in range(KEYS)))
        values = [f"value-{n}".encode() for n in range(KEYS)]
        assert await storm(
            lambda n: redis.get(f"key-{n}"), lambda n, got: got == values[n], rng, count=MANY
        )
        assert in_use(redis) == 0
        for n in range(3):
            assert await redis.get(f"key-{n}") == f"value-{n}".encode()
        await redis.aclose()


async def test_of_the_cache(server, rng, monkeypatch):
    monkeypatch.setattr(redis_cache, "DEADLINE_S", PATIENCE_S)
    monkeypatch.setattr(redis_cache, "ASKING_MAX", TOGETHER)
    async with slow_proxy(server.port, delay_s=0) as proxy, TaskScope() as scope:
        budget = FillBudget(window_s=60, bytes_max=2**20, log_bytes_max=2**20)
        redis = connect_one(proxy.url, deadline_s=PATIENCE_S)
        cache = RedisCache(redis, prefix="test", expire_s=60, budget=budget)
        scope.spawn(cache.run(), name="cache")
        async with asyncio.timeout(PATIENCE_S):
            while not cache.is_open:
                await asyncio.sleep(0.001)
        for n in range(KEYS):
            cache.put(A, f"name-{n}", b"%d" % n)
        await kept(cache, A, f"name-{KEYS - 1}", b"%d" % (KEYS - 1))
        proxy.delay_s = DELAY_S

        def names(n: int) -> list[str]:
            return [f"name-{n}", "nothing", f"name-{(n + 1) % KEYS}"]

        def is_right(n: int, got: list[bytes | None]) -> bool:
            return got == [b"%d" % n, None, b"%d" % ((n + 1) % KEYS)]

        assert await storm(lambda n: cache.get(A, names(n)), is_right, rng)
        assert cache.is_open and cache._asking == 0
        assert in_use(redis) <= 1, "but for the beat"
        scope.cancel_all()


async def test_of_who_is_where(server, rng):
    robots = [R1, R2, R3]
    async with slow_proxy(server.port, delay_s=DELAY_S) as proxy, TaskScope() as scope:
        near, far = Holding(server, "near"), Holding(server, "far")
        await near._redis.aclose()
        near._redis = connect_one(proxy.url, deadline_s=PATIENCE_S)
        near._others = ["far"]
        scope.spawn(far.run(), name="far")
        far.take(R1, R3)
        await far.settled()

        def some(n: int) -> list[Any]:
            return [robot for bit, robot in enumerate(robots) if n >> bit & 1]

        def is_right(n: int, got: set[Any]) -> bool:
            return got == set(some(n)) & {R1, R3}

        assert await storm(lambda n: near.elsewhere(some(n)), is_right, rng)
        assert in_use(near._redis) == 0
        await near._redis.aclose()
        scope.cancel_all()
