"""Opens clients of Redis as everything here needs them: with a deadline on every call, and no retries of its
own, since whoever calls knows better what to do when Redis does not answer.

A connection that the peer has just reset may be used once more before anybody is told. What uvloop says then
is a `RuntimeError`, which the driver passes on; here it becomes the error that it is.
"""

from collections.abc import Iterable
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisGone

DEADLINE_S: Final = 1.0


def connect(url: str) -> Redis:
    """Return a client of the Redis at ``url`` (redis://, rediss:// or unix://); connects when it is used.

    Raises:
        ValueError: the URL is none of these.
    """
    client: Redis = Redis.from_url(
        url,
        socket_timeout=DEADLINE_S,
        socket_connect_timeout=DEADLINE_S,
        retry=Retry(NoBackoff(), 0),
        max_connections=64,
    )
    pool = client.connection_pool
    pool.connection_class = plain_spoken(pool.connection_class)
    return client


def plain_spoken(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return a kind of connection that tells of a closed transport as the driver tells of a lost one."""

    class PlainSpoken(kind):  # type: ignore[valid-type,misc]
        async def send_packed_command(
            self, command: bytes | str | Iterable[bytes], *args: Any, **options: Any
        ) -> None:
            try:
                await super().send_packed_command(command, *args, **options)
            except RuntimeError as exc:
                raise RedisGone(f"the connection is closed: {exc}") from exc

    return PlainSpoken
