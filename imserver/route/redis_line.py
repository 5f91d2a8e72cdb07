"""A carrier over one Redis server: one connection that subscribes, and one that publishes."""

import random
from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis

from imserver.core.tasks import TaskScope
from imserver.route.carrier import ignore
from imserver.route.metrics import RouteMetrics
from imserver.route.redis_client import closing
from imserver.route.redis_publisher import Publisher
from imserver.route.redis_subscriber import Subscriber


class RedisLine:
    """A `Carrier` over one server.

    Args:
        redis: a client of its own with a deadline on every call and no retries; closed when `run` ends.
        sharded: the server is one of a Redis Cluster, and gets only the channels whose slots it has.

    Attributes:
        on_trouble: told when the server cannot be reached, or may have the slots no longer.
        on_dropped: told a channel that the server has let go of by itself, since it has the slot no longer.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        dice: random.Random,
        metrics: RouteMetrics,
        sharded: bool = False,
    ) -> None:
        self._redis = redis
        self.on_payload: Callable[[bytes], None] = ignore
        self.on_subscribed: Callable[[str], None] = ignore
        self.on_lost: Callable[[], None] = ignore
        self.on_again: Callable[[], None] = ignore
        self.on_trouble: Callable[[], None] = ignore
        self.on_dropped: Callable[[str], None] = ignore
        self.publisher: Final = Publisher(redis, dice=dice, metrics=metrics, sharded=sharded)
        self.subscriber: Final = Subscriber(redis, dice=dice, sharded=sharded)
        self.put = self.publisher.put
        self.want = self.subscriber.want
        self.unwant = self.subscriber.unwant
        self.wait_written = self.publisher.wait_written

    @property
    def is_connected(self) -> bool:
        return self.publisher.is_connected and self.subscriber.is_connected

    async def run(self) -> None:
        self.publisher.on_lost, self.publisher.on_again = self.on_lost, self.on_again
        self.publisher.on_trouble = self.on_trouble
        self.subscriber.on_payload, self.subscriber.on_dropped = self.on_payload, self.on_dropped
        self.subscriber.on_subscribed = self.on_subscribed
        self.subscriber.on_trouble = self.on_trouble
        async with closing(self._redis), TaskScope() as scope:
            scope.spawn(self.publisher.run(), name="route.publish")
            scope.spawn(self.subscriber.run(), name="route.subscribe")
