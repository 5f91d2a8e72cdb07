"""What clients of Redis do on the event loop that the server runs on."""

from collections.abc import Iterator

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
