"""Opens clients of Redis as everything here needs them: with a deadline on every call, and no retries of its
own, since whoever calls knows better what to do when Redis does not answer.

A connection that the peer has just reset may be used once more before anybody is told. What uvloop says then
is a `RuntimeError`, which the driver passes on. And where one task gives a connection up while another is
about to use it, as the two of a subscription may, the driver trips over what it has cleared itself, with an
`AttributeError`. Here both become the error that they are.

The URL of a Redis Cluster names some of its servers: redis+cluster://HOST:PORT,HOST:PORT. They tell the
others.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final, TypeAlias

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import RedisClusterException, RedisError

DEADLINE_S: Final = 1.0
_CLUSTER: Final = "+cluster://"
_MOVES_MAX: Final = 2
"""How often a call to a cluster is tried again where its servers have just changed roles."""

FAILURES: Final = (RedisError, RedisClusterException, OSError)
"""What a call raises if Redis cannot be asked, or not in time."""

Client: TypeAlias = Redis | RedisCluster


def connect(url: str, *, deadline_s: float = DEADLINE_S) -> Client:
    """Return a client of the Redis at ``url`` (redis://, rediss://, unix:// or, of a cluster,
    redis+cluster://, rediss+cluster://); connects when it is used.

    Commands on several keys of a cluster are good for keys with one hash tag only.

    Raises:
        ValueError: the URL is none of these.
    """
    if not is_cluster(url):
        return connect_one(url, deadline_s=deadline_s)
    first, *_ = urls = server_urls(url)
    places = [parse_url(each) for each in urls]
    client: RedisCluster = RedisCluster.from_url(
        first,
        startup_nodes=[ClusterNode(each["host"], each.get("port", 6379)) for each in places],
        socket_timeout=deadline_s,
        socket_connect_timeout=deadline_s,
        retry=Retry(NoBackoff(), _MOVES_MAX),
        max_connections=64,
    )
    kind = SSLConnection if first.startswith("rediss") else Connection
    client.nodes_manager.connection_kwargs["connection_class"] = plain_spoken(kind)
    return client


def connect_one(url: str, *, deadline_s: float = DEADLINE_S) -> Redis:
    """Return a client of one server, also if it is one of a cluster."""
    client: Redis = Redis.from_url(
        url,
        socket_timeout=deadline_s,
        socket_connect_timeout=deadline_s,
        retry=Retry(NoBackoff(), 0),
        max_connections=64,
    )
    pool = client.connection_pool
    pool.connection_class = plain_spoken(pool.connection_class)
    return client


@contextlib.asynccontextmanager
async def closing(client: Redis) -> AsyncIterator[Redis]:
    """Close a client's connections at the end of the body, also if that is cancelled while it is under way:
    the driver closes each in a task of its own, and leaves those open that had not begun."""
    try:
        yield client
    finally:
        try:
            await client.aclose()
        except asyncio.CancelledError:
            await client.aclose()
            raise


def plain_spoken(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return a kind of connection that tells of a closed transport as the driver tells of a lost one."""

    class PlainSpoken(kind):  # type: ignore[valid-type,misc]
        async def send_packed_command(
            self, command: bytes | str | Iterable[bytes], *args: Any, **options: Any
        ) -> None:
            with _plainly(self):
                await super().send_packed_command(command, *args, **options)

        async def read_response(self, *args: Any, **options: Any) -> Any:
            with _plainly(self):
                return await super().read_response(*args, **options)

    return PlainSpoken


@contextlib.contextmanager
def _plainly(connection: AbstractConnection) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, AttributeError) as exc:
        if isinstance(exc, AttributeError) and connection.is_connected:
            raise
        raise RedisGone(f"the connection is closed: {exc}") from exc


def is_cluster(url: str) -> bool:
    """Tell whether a URL is that of a Redis Cluster."""
    return _CLUSTER in url


def server_urls(url: str) -> list[str]:
    """Return the URLs of the servers that the URL of a cluster names."""
    scheme, _, rest = url.partition(_CLUSTER)
    user, hosts, end = _parts(rest)
    return [f"{scheme}://{user}{host}{end}" for host in hosts.split(",") if host]


def server_url(url: str, host: str, port: int) -> str:
    """Return the URL of another server of a cluster, which has the same users and certificates."""
    scheme, _, rest = url.partition(_CLUSTER)
    user, _, end = _parts(rest)
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{user}{shown}:{port}{end}"


def _parts(rest: str) -> tuple[str, str, str]:
    """Return what stands before the hosts, the hosts, and what follows them."""
    size = min((rest.find(sign) for sign in "/?#" if sign in rest), default=len(rest))
    user, at, hosts = rest[:size].rpartition("@")
    return user + at, hosts, rest[size:]
