"""The incoming half of the Redis router: one connection that is subscribed to whatever is wanted.

After a cut it subscribes to everything again, and says so, since what was published meanwhile is gone.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from imserver.core.tasks import TaskScope, heed_cancellation
from imserver.route.backoff import Backoff
from imserver.route.carrier import ignore
from imserver.route.slots import of_one_slot

_log = logging.getLogger("imserver.route")

SUBSCRIBE_MAX: Final = 512
QUIET_S: Final = 3.0
"""A connection that is silent for this long is asked for a sign of life, and given up without one."""


class Subscriber:
    """Keeps a subscription to the wanted channels alive.

    Args:
        sharded: channels are those of a Redis Cluster, and this is the server that has their slots.

    Attributes:
        is_connected: there is a connection that answers, as far as is known.
        on_payload: told what arrives; must not wait.
        on_subscribed: told each channel whose payloads arrive from now on.
        on_dropped: told a channel that the server has let go of by itself, since it has the slot no longer.
        on_trouble: told each time the connection fails.
    """

    def __init__(self, redis: Redis, *, dice: random.Random, sharded: bool) -> None:
        self._redis = redis
        self._sharded = sharded
        self._backoff = Backoff(dice)
        self.on_payload: Callable[[bytes], None] = ignore
        self.on_subscribed: Callable[[str], None] = ignore
        self.on_dropped: Callable[[str], None] = ignore
        self.on_trouble: Callable[[], None] = ignore
        self._wanted: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._subscribed: set[str] = set()
        self._ending: Counter[str] = Counter()
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
            self.on_trouble()
            await asyncio.sleep(self._backoff.next_s())

    async def _receive(self, pubsub: PubSub) -> None:
        self._subscribed.clear()
        self._ending.clear()
        self._is_asked = False
        self._changed = dict(self._wanted)
        # Before the two tasks begin, which must not both connect.
        await pubsub.connect()  # type: ignore[no-untyped-call]
        await self._ask_for_life(pubsub)
        async with TaskScope() as scope:
            self._wake.set()
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
        self._ending.update(end)
        if not self._sharded:
            if begin:
                await pubsub.subscribe(*begin)
            if end:
                await pubsub.unsubscribe(*end)
            return
        for some in of_one_slot(begin):
            await pubsub.ssubscribe(*some)
        for some in of_one_slot(end):
            await pubsub.sunsubscribe(*some)

    def _take(self, message: dict[str, Any]) -> None:
        self.is_connected = True
        self._is_asked = False
        self._backoff.reset()
        kind = message["type"].removeprefix("s" if self._sharded else "")
        if kind == "message":
            self.on_payload(message["data"])
        elif kind == "subscribe":
            self.on_subscribed(message["channel"].decode())
        elif kind == "unsubscribe":
            self._note_end(message["channel"].decode())

    def _note_end(self, channel: str) -> None:
        """Take in that a channel has ended: said here, or by a server that has its slot no longer.

        What was said here may be answered when the channel is wanted again already.
        """
        if channel in self._ending:
            self._ending[channel] -= 1
            if not self._ending[channel]:
                del self._ending[channel]
        elif channel in self._subscribed:
            self._subscribed.discard(channel)
            self.on_dropped(channel)

    async def _ask_for_life(self, pubsub: PubSub) -> None:
        if self._is_asked:
            raise TimeoutError(f"Redis said nothing for {2 * QUIET_S} s")
        self._is_asked = True
        await pubsub.ping()


async def _pass_on(message: list[Any]) -> list[Any]:
    """Return what Redis pushed. The driver's own handler writes all of it out as text, for a log that nobody
    reads: that took more time than the message itself."""
    return message
