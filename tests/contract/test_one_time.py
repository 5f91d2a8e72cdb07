"""Texts that are left and taken once, in memory and in a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from imserver.core.clock import SystemClock
from imserver.route.one_time import LocalOneTime, OneTime
from imserver.route.redis_client import connect
from imserver.route.redis_one_time import RedisOneTime
from tests.redis_server import RedisServer, redis_process

TTL_MS = 30_000


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_process() as server:
        yield server


@pytest.fixture
async def over() -> AsyncIterator[Callable[..., RedisOneTime]]:
    """Make nodes' texts over a Redis: ``over(server)``."""
    clients = []

    def make(server: RedisServer, prefix: str = "test") -> RedisOneTime:
        clients.append(connect(server.url))
        return RedisOneTime(clients[-1], prefix=prefix, own=LocalOneTime(SystemClock()))

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture(params=["local", "redis"])
def texts(
    request: pytest.FixtureRequest, server: RedisServer, over: Callable[..., RedisOneTime]
) -> OneTime:
    return LocalOneTime(SystemClock()) if request.param == "local" else over(server)


async def test_a_text_is_taken_once(texts: OneTime) -> None:
    await texts.leave("once", "text", ttl_ms=TTL_MS)
    assert await texts.take("another") is None
    assert await texts.take("once") == "text"
    assert await texts.take("once") is None


async def test_a_text_ends_in_time(texts: OneTime) -> None:
    await texts.leave("brief", "text", ttl_ms=1)
    await asyncio.sleep(0.02)  # the end of its time is what the test is about
    assert await texts.take("brief") is None


async def test_of_two_nodes_that_take_a_text_one_gets_it(
    server: RedisServer, over: Callable[..., RedisOneTime]
) -> None:
    nodes = [over(server), over(server), over(server, "other")]
    await nodes[0].leave("race", "text", ttl_ms=TTL_MS)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(node.take("race")) for node in nodes]
    assert sorted(str(task.result()) for task in tasks) == ["None", "None", "text"]


async def test_without_redis_a_text_can_be_taken_where_it_was_left(
    over: Callable[..., RedisOneTime],
) -> None:
    with redis_process() as server:
        here, there = over(server), over(server)
        server.kill()
        await here.leave("k", "text", ttl_ms=TTL_MS)
        assert await there.take("k") is None
        assert await here.take("k") == "text"
        assert await here.take("k") is None
