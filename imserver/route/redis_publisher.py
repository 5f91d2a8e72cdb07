"""The outgoing half of the Redis router: a bounded queue of hints, written in pipelines.

Does not know what a hint is, and promises nothing about it.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from imserver.core.tasks import heed_cancellation
from imserver.route.backoff import Backoff
from imserver.route.carrier import ignore
from imserver.route.metrics import RouteMetrics

_log = logging.getLogger("imserver.route")

QUEUED_BYTES_MAX: Final = 8 * 1024 * 1024
PIPELINE_MAX: Final = 256


class Publisher:
    """Publishes what it is given, in order, as long as Redis keeps up; drops it otherwise.

    Args:
        sharded: channels are those of a Redis Cluster, and this is the server that has their slots.

    Attributes:
        is_connected: the last attempt succeeded.
        on_lost: told when something was thrown away that had been taken.
        on_again: told when it gets through again after it did not.
        on_trouble: told each time when it does not.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        dice: random.Random,
        metrics: RouteMetrics,
        sharded: bool,
    ) -> None:
        self._redis = redis
        self._command = "SPUBLISH" if sharded else "PUBLISH"
        self._backoff = Backoff(dice)
        self._metrics = metrics
        self.on_lost: Callable[[], None] = ignore
        self.on_again: Callable[[], None] = ignore
        self.on_trouble: Callable[[], None] = ignore
        self._queue: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._nothing_left = asyncio.Event()
        self._nothing_left.set()
        self.is_connected = True

    def put(self, channel: str, payload: bytes) -> bool:
        """Publish soon. While Redis cannot be reached, or is too slow, nothing is kept for later: False."""
        if not self.is_connected or self._bytes + len(payload) > QUEUED_BYTES_MAX:
            self._metrics.dropped.inc()
            return False
        self._queue.append((channel, payload))
        self._bytes += len(payload)
        self._wake.set()
        self._nothing_left.clear()
        return True

    async def wait_written(self) -> None:
        """Return when everything that was put has been written, or thrown away."""
        await self._nothing_left.wait()

    def drop(self) -> None:
        """Throw away what is queued."""
        self._metrics.dropped.inc(len(self._queue))
        self._queue.clear()
        self._bytes = 0
        self._nothing_left.set()
        self.on_lost()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                heed_cancellation()
                await self._publish(self._take())
            self._nothing_left.set()
            heed_cancellation()

    def _take(self) -> list[tuple[str, bytes]]:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), PIPELINE_MAX))]
        self._bytes -= sum(len(payload) for _, payload in batch)
        return batch

    async def _publish(self, batch: list[tuple[str, bytes]]) -> None:
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for channel, payload in batch:
                    pipeline.execute_command(self._command, channel, payload)
                await pipeline.execute()
        except (RedisError, OSError) as exc:
            await self._lose(len(batch), exc)
        else:
            self._metrics.published.inc(len(batch))

    async def _lose(self, count: int, exc: Exception) -> None:
        """Throw away what is queued, and wait until Redis answers again."""
        _log.warning("route.cannot_publish", extra={"reason": str(exc)})
        self.is_connected = False
        self.on_trouble()
        self._metrics.dropped.inc(count)
        self.drop()
        self._backoff.reset()
        while not self.is_connected:
            heed_cancellation()
            await asyncio.sleep(self._backoff.next_s())
            try:
                self.is_connected = bool(await self._redis.ping())
            except (RedisError, OSError):
                continue
        _log.info("route.publishes_again")
        self.on_again()
