"""The cache on Redis, which the nodes of a cluster share.

*No delay.* A call that fails or takes too long closes the cache for everybody: from then on nobody asks
Redis, until it has answered this module's own question in the background (a circuit breaker).

*No past.* What is kept stands under a *generation*, a random name that is in Redis as long as a node renews
it. Where none is there, a new one is made. So when all nodes are stopped, the database is set back to a
backup, and nodes start again, nothing is found that was kept before.

*Bounds.* Every value expires, and each node puts so much in that time and no more (`FillBudget`). What Redis
itself throws away before that is missed by nobody.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from imserver.core.tasks import TaskScope, heed_cancellation
from imserver.data.fill_budget import FillBudget
from imserver.protocol.names import ConversationName

_log = logging.getLogger("imserver.cache")

DEADLINE_S: Final = 0.1
LEASE_S: Final = 10.0
BEAT_S: Final = 0.5
ASKING_MAX: Final = 32
"""So many calls wait for Redis at a time; whoever comes then asks the store."""

QUEUED_BYTES_MAX: Final = 4 * 1024 * 1024
PIPELINE_MAX: Final = 64

_FAILURES: Final = (RedisError, RedisClusterException, OSError)  # TimeoutError is an OSError


class RedisCache:
    """A `Cache` in Redis. `run` leads its life; without it, it stays closed.

    Args:
        redis: a client of its own, with a deadline on every call; closed when `run` ends.
        prefix: begins every key, so that deployments can share a Redis.
        expire_s: how long a value is kept at most.
    """

    def __init__(
        self, redis: Redis | RedisCluster, *, prefix: str, expire_s: float, budget: FillBudget
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self._expire_ms = int(expire_s * 1000)
        self._budget = budget
        self._generation = ""
        self._is_open = False
        self._asking = 0
        self._queue: deque[tuple[str, bytes]] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self._is_open

    async def get(self, conv: ConversationName, names: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = [None] * len(names)
        if not names or not self._is_open or self._asking >= ASKING_MAX:
            return found
        self._asking += 1
        try:
            async with asyncio.timeout(DEADLINE_S):
                answer: Any = await self._redis.mget([self._key(conv, name) for name in names])
            found = answer
        except _FAILURES as exc:
            self._close(exc)
        finally:
            self._asking -= 1
        heed_cancellation()
        return found

    def put(self, conv: ConversationName, name: str, value: bytes) -> None:
        size = len(value)
        if not self._is_open or self._queued_bytes + size > QUEUED_BYTES_MAX:
            return
        if not self._budget.take(conv, size, now_s=asyncio.get_running_loop().time()):
            return
        self._queue.append((self._key(conv, name), value))
        self._queued_bytes += size
        self._wake.set()

    async def run(self) -> None:
        try:
            async with TaskScope() as scope:
                scope.spawn(self._write_forever(), name="cache.write")
                scope.spawn(self._renew_forever(), name="cache.renew")
        finally:
            await self._redis.aclose()

    async def _write_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                heed_cancellation()
                await self._write()
            heed_cancellation()

    async def _write(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), PIPELINE_MAX))]
        self._queued_bytes -= sum(len(value) for _, value in batch)
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key, value in batch:
                    pipeline.set(key, value, px=self._expire_ms)
                await pipeline.execute()
        except _FAILURES as exc:
            self._close(exc)

    async def _renew_forever(self) -> None:
        while True:
            heed_cancellation()
            try:
                await self._renew()
            except _FAILURES as exc:
                self._close(exc)
            await asyncio.sleep(BEAT_S)

    async def _renew(self) -> None:
        """Join the generation that is there, or begin one; renew it, and open the cache.

        What is offered is new each time: a call that Redis carries out late revives nothing.
        """
        key, offered, lease_ms = f"{self._prefix}:cache", secrets.token_hex(8), int(LEASE_S * 1000)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(key, offered, px=lease_ms, nx=True, get=True)
            pipeline.pexpire(key, lease_ms)
            there, _ = await pipeline.execute()
        self._generation = offered if there is None else there.decode(errors="replace")
        if not self._is_open:
            self._is_open = True
            _log.info("cache.open")

    def _close(self, exc: Exception) -> None:
        """Ask Redis for nothing until it has answered in the background."""
        if self._is_open:
            self._is_open = False
            reason = str(exc) or type(exc).__name__
            _log.warning("cache.closed", extra={"reason": reason})
        self._queue.clear()
        self._queued_bytes = 0

    def _key(self, conv: ConversationName, name: str) -> str:
        # In braces: on a Redis Cluster what is asked for in one call has to be in one place.
        return f"{self._prefix}:log:{self._generation}:{{{conv}}}:{name}"
