"""The incoming half of the Redis router: one connection that is subscribed to whatever is wanted.

After a cut it subscribes to everything again, and says so, since what was published meanwhile is gone.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from imserver.core.tasks import TaskScope, heed_cancellation
from imserver.route.backoff import Backoff

_log = logging.getLogger("imserver.route")

SUBSCRIBE_MAX: Final = 512
QUIET_S: Final = 3.0
"""A connection that is silent for this long is asked for a sign of life, and given up without one."""


class Subscriber:
    """Keeps a subscription to the wanted channels alive.

    Args:
        on_payload: told what arrives; must not wait.
        on_subscribed: told each channel whose payloads arrive from now on.

    Attributes:
        is_connected: there is a connection that answers, as far as is known.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        dice: random.Random,
        on_payload: Callable[[bytes], None],
        on_subscribed: Callable[[str], None],
    ) -> None:
        self._redis = redis
        self._backoff = Backoff(dice)
        self._on_payload = on_payload
        self._on_subscribed = on_subscribed
        self._wanted: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._subscribed: set[str] = set()
        self._wake = asyncio.Event()
        self._is_asked = False
        self.is_connected = False

    def want(self, channel: str) -> None:
        """Subscribe to a channel soon."""
        self._wanted[channel] = None
        self._note_change(channel)

    def unwant(self, channel: str) -> None:
        """Let go of a channel soon."""
        if channel in self._wanted:
            del self._wanted[channel]
            self._note_change(channel)

    def _note_change(self, channel: str) -> None:
        self._changed[channel] = None
        self._wake.set()

    async def run(self) -> None:
        """Receive until cancelled; connect again whenever that fails."""
        while True:
            heed_cancellation()
            pubsub = self._redis.pubsub(push_handler_func=_pass_on)
            try:
                await self._receive(pubsub)
            except* (RedisError, OSError) as group:
                _log.warning("route.cannot_receive", extra={"reason": str(group.exceptions[0])})
            finally:
                self.is_connected = False
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(self._backoff.next_s())

    async def _receive(self, pubsub: PubSub) -> None:
        self._subscribed.clear()
        self._is_asked = False
        self._changed = dict(self._wanted)
        await self._subscribe(
            pubsub
        )  # a first command connects, which the two tasks must not both do
        async with TaskScope() as scope:
            scope.spawn(self._change_forever(pubsub), name="route.subscribe")
            while True:
                heed_cancellation()
                message = await pubsub.get_message(timeout=QUIET_S)
                if message is None:
                    await self._ask_for_life(pubsub)
                else:
                    self._take(message)

    async def _change_forever(self, pubsub: PubSub) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._changed:
                heed_cancellation()
                await self._subscribe(pubsub)
            heed_cancellation()

    async def _subscribe(self, pubsub: PubSub) -> None:
        """Carry out some of the changes."""
        channels = list(islice(self._changed, SUBSCRIBE_MAX))
        for channel in channels:
            del self._changed[channel]
        begin = [c for c in channels if c in self._wanted and c not in self._subscribed]
        end = [c for c in channels if c not in self._wanted and c in self._subscribed]
        self._subscribed.update(begin)
        self._subscribed.difference_update(end)
        if begin:
            await pubsub.subscribe(*begin)
        if end:
            await pubsub.unsubscribe(*end)

    def _take(self, message: dict[str, Any]) -> None:
        self.is_connected = True
        self._is_asked = False
        self._backoff.reset()
        if message["type"] == "message":
            self._on_payload(message["data"])
        elif message["type"] == "subscribe":
            self._on_subscribed(message["channel"].decode())

    async def _ask_for_life(self, pubsub: PubSub) -> None:
        if self._is_asked:
            raise TimeoutError(f"Redis said nothing for {2 * QUIET_S} s")
        self._is_asked = True
        await pubsub.ping()


async def _pass_on(message: list[Any]) -> list[Any]:
    """Return what Redis pushed. The driver's own handler writes all of it out as text, for a log that nobody
    reads: that took more time than the message itself."""
    return message
