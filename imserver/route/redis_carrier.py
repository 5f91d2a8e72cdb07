"""Opens the carrier that a URL asks for: over one Redis, or over a cluster of them."""

import random

from imserver.route.carrier import Carrier
from imserver.route.metrics import RouteMetrics
from imserver.route.redis_client import connect_one, is_cluster
from imserver.route.redis_line import RedisLine
from imserver.route.redis_shards import RedisShards


def carrier_over(url: str, *, dice: random.Random, metrics: RouteMetrics) -> Carrier:
    """Return a carrier over the Redis at ``url``; connects when it runs."""
    if is_cluster(url):
        return RedisShards(url, dice=dice, metrics=metrics)
    return RedisLine(connect_one(url), dice=dice, metrics=metrics)
