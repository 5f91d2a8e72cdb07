"""What clients of Redis do on the event loop that the server runs on."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any, NoReturn

import pytest
import uvloop
from redis.exceptions import RedisError

from imserver.route.redis_client import closing, connect_one
from tests.redis_server import RedisServer, redis_process


class CancelledAt(Coroutine[Any, Any, None]):
    """Work whose task is cancelled in the turn of the loop in which it does its step of this number."""

    def __init__(self, work: Coroutine[Any, Any, None], step: int) -> None:
        self.work = work
        self.steps_left = step

    def send(self, value: Any) -> Any:
        if self.steps_left == 0:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
        self.steps_left -= 1
        return self.work.send(value)

    def throw(self, *problem: Any) -> Any:
        return self.work.throw(*problem)

    def close(self) -> None:
        self.work.close()

    def __await__(self) -> NoReturn:
        raise NotImplementedError("it is for a task")


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


async def test_a_client_leaves_nothing_open_whenever_its_task_is_cancelled(
    redis: RedisServer,
) -> None:
    async def use(used: list[Any]) -> None:
        async with closing(connect_one(redis.url)) as client:
            used.append(client.connection_pool)
            await client.ping()

    async def is_cancelled_in_time(step: int) -> bool:
        used: list[Any] = []
        work = CancelledAt(use(used), step)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.create_task(work)
        for pool in used:
            every = [*pool._available_connections, *pool._in_use_connections]
            assert not any(connection.is_connected for connection in every), f"step {step}"
        return work.steps_left < 0

    step = 0
    while await is_cancelled_in_time(step):
        step += 1
    assert step > 3, "it waits for the connection, its greeting, an answer, and the end"
