"""Stamps, by which nodes tell which of two things came later: numbers that Redis gives out, each once.

A stamp is Redis' time in milliseconds, or one more than the stamp before if that is not greater. So whoever
is given one after another one was given has the greater one, on whichever nodes, whatever their clocks
say. The order outlives a Redis that forgets, since time has gone on, and one with another clock, if it has
kept the last stamp (a hybrid logical clock: Kulkarni et al., "Logical Physical Clocks", 2014). While Redis
does not answer, its time has to do as it was last known here.

Those who ask while a question is on its way are answered by the next one, all together.
"""

import asyncio
from typing import Any, Final

from imserver.core.tasks import heed_cancellation
from imserver.route.redis_client import FAILURES, Client
from imserver.route.redis_time import RedisTime

KEPT_MS: Final = 86_400_000
_NEXT: Final = """
local now = redis.call('TIME')
local stamp = now[1] * 1000 + math.floor(now[2] / 1000)
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
if stamp <= last then stamp = last + 1 end
redis.call('SET', KEYS[1], string.format('%.0f', stamp), 'PX', ARGV[1])
return stamp
"""


class Stamps:
    """Gives out stamps.

    Attributes:
        answers: whether Redis did, the last time that it was asked anything; if not, nobody waits for it.
    """

    def __init__(self, redis: Client, key: str, time: RedisTime) -> None:
        self._redis: Any = redis
        self._key = key
        self._time = time
        self._turn = asyncio.Lock()
        self._asked = 0
        self._answered = 0
        self._last = 0
        self.answers = True

    async def next(self) -> int:
        """Return a stamp; it never fails, and waits for Redis no longer than for one call."""
        self._asked += 1
        number = self._asked
        async with self._turn:
            if self._answered < number:
                together = self._asked
                self._last = await self._ask() if self.answers else self._time.now_ms()
                self._answered = together
            return self._last

    async def _ask(self) -> int:
        try:
            stamp = int(await self._redis.eval(_NEXT, 1, self._key, KEPT_MS))
        except FAILURES:
            self.answers = False
            stamp = self._time.now_ms()
        heed_cancellation()
        return stamp
