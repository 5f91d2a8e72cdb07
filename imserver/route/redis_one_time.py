"""Texts that are taken once, in Redis: keys ``once:<key>`` behind the deployment's prefix, which expire.

While Redis does not answer, a text is kept by the node that is given it, and can be taken there.
"""

import logging

from imserver.route.one_time import LocalOneTime
from imserver.route.redis_client import FAILURES, Client

_log = logging.getLogger("imserver.route")


class RedisOneTime:
    """A `OneTime` over Redis.

    Args:
        redis: a client with a deadline on every call, which somebody else closes.
        prefix: begins every key, so that deployments can share a Redis.
        own: where texts are that Redis did not take.
    """

    def __init__(self, redis: Client, *, prefix: str, own: LocalOneTime) -> None:
        self._redis = redis
        self._prefix = prefix
        self._own = own

    async def leave(self, key: str, text: str, *, ttl_ms: int) -> None:
        try:
            await self._redis.set(self._name(key), text, px=max(ttl_ms, 1))
        except FAILURES as exc:
            _log.info("route.kept_here", extra={"reason": str(exc)})
            await self._own.leave(key, text, ttl_ms=ttl_ms)

    async def take(self, key: str) -> str | None:
        own = await self._own.take(key)
        if own is not None:
            return own
        try:
            found = await self._redis.getdel(self._name(key))
        except FAILURES as exc:
            _log.info("route.not_found_out", extra={"reason": str(exc)})
            return None
        return found.decode() if isinstance(found, bytes) else found

    def _name(self, key: str) -> str:
        return f"{self._prefix}:once:{key}"
