"""What clients of Redis do on the event loop that the server runs on."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from redis.exceptions import RedisError

from imserver.route.redis_client import connect_one
from tests.redis_server import RedisServer, redis_process


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_process() as redis:
        yield redis


def test_a_connection_that_was_just_lost_is_told_as_lost(redis: RedisServer) -> None:
    async def use_a_lost_one() -> None:
        client = connect_one(redis.url)
        connection = await client.connection_pool.get_connection()
        connection._writer.transport.abort()
        with pytest.raises(RedisError):
            await connection.send_command("PING")
        await client.connection_pool.release(connection)
        assert await client.ping(), "the next one is another"
        await client.aclose()

    uvloop.run(use_a_lost_one())


@pytest.mark.parametrize("awaits", ["an answer", "nothing"])
def test_a_connection_that_is_given_up_under_a_call_is_told_as_lost(
    redis: RedisServer, awaits: str
) -> None:
    async def call(connection: Any) -> None:
        await connection.send_command("PING")
        if awaits == "an answer":
            await connection.read_response(timeout=1.0)

    async def give_up_after(steps: int) -> None:
        client = connect_one(redis.url)
        connection = await client.connection_pool.get_connection()
        calling = asyncio.create_task(call(connection))
        for _ in range(steps):
            await asyncio.sleep(0)
        await connection.disconnect(nowait=True)
        with contextlib.suppress(RedisError):  # nothing else comes of it
            await calling
        await client.aclose()

    for steps in range(12):
        uvloop.run(give_up_after(steps))
