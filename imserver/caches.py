"""The cache beside a shared store, as the settings name it."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple, cast

from prometheus_client.registry import Collector

from imserver.core.cache_settings import NONE
from imserver.core.settings import Settings
from imserver.core.tokens import TokenAuthority
from imserver.data.cache_metrics import CacheCounts, CacheMetrics
from imserver.data.cached_log import CachedLog
from imserver.data.fill_budget import FillBudget
from imserver.data.store import BoundsOfLogs, EventLog, Store

_KEY_PURPOSE: Final = "imserver cache v1"


class OpenedCache(NamedTuple):
    """The log of a store as a node reads it, and what a process needs of the cache beside it.

    Attributes:
        log: the store's own, or with a cache.
        work: what has to run as long as it is in use, by name.
        metrics: what is counted, or None.
    """

    log: EventLog
    work: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] = {}
    metrics: Collector | None = None


def open_cache(settings: Settings, store: Store, authority: TokenAuthority) -> OpenedCache:
    """Open the cache that the settings name, over the log of ``store``; waits for nobody."""
    given = settings.cache
    url = given.url or settings.route.url
    # Where Redis is to see no event, it gets none in this way either, unless another one is named.
    shows_events = given.url or settings.route.carried_bytes_max
    if given.url == NONE or not settings.route.url or not shows_events:
        return OpenedCache(store)
    # Imported here: who runs on one machine needs no driver of Redis.
    from imserver.data.redis.cache import DEADLINE_S, RedisCache  # noqa: PLC0415
    from imserver.route.redis_client import connect  # noqa: PLC0415

    budget = FillBudget(
        window_s=given.expire_s, bytes_max=given.bytes_max, log_bytes_max=given.log_bytes_max
    )
    cache = RedisCache(
        connect(url, deadline_s=DEADLINE_S),
        prefix=f"imserver:{authority.server_id}",
        expire_s=given.expire_s,
        budget=budget,
    )
    counts = CacheCounts()
    log = CachedLog(
        store,
        cast(BoundsOfLogs, store),
        cache,
        secret=authority.shared_key(_KEY_PURPOSE),
        counts=counts,
    )
    return OpenedCache(log, {"cache": cache.run}, CacheMetrics(counts, lambda: cache.is_open))
