"""The settings of the cache beside a shared store, a section of `settings.Settings`."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from imserver.core.route_settings import REDIS_URLS, is_redis
from imserver.protocol.names import clip

NONE: Final = "none"


class CacheSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of the logs in a Redis, for nodes that read the same. What it answers changes nothing but
    how often the store is asked. A node without ``route.url`` has no use for it.

    Attributes:
        url: a Redis or a Redis Cluster, as in ``route.url``; empty for that of ``route.url``, but no cache
            if ``route.carried_bytes_max`` is 0; ``none`` for none.
        expire_s: seconds after which what was kept is dropped.
        bytes_max: most bytes of each node's making that are kept at a time.
        log_bytes_max: the same for one conversation.
    """

    url: str = ""
    expire_s: Annotated[float, Meta(ge=1, le=3_600)] = 120.0
    bytes_max: Annotated[int, Meta(ge=65_536, le=2**40)] = 128 * 1024 * 1024
    log_bytes_max: Annotated[int, Meta(ge=65_536, le=2**40)] = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.url not in ("", NONE) and not is_redis(self.url):
            raise ValueError(f"cache.url {REDIS_URLS}, or be none, not {clip(self.url, 12)!r}")
