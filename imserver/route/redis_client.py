"""Opens clients of Redis as everything here needs them: with a deadline on every call, and no retries of its
own, since whoever calls knows better what to do when Redis does not answer."""

from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

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
    return client
