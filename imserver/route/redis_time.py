"""The time of the Redis that nodes share, as it is known without asking: for when Redis does not answer.

How far this machine's stopwatch is from Redis' clock is measured now and then, and is off by half of what the
question took at most (as in F. Cristian, "Probabilistic clock synchronization", 1989). Where Redis has never
answered, this machine's own clock has to do.
"""

from typing import Final

from imserver.core.clock import Clock

DRIFT: Final = 0.000_5
"""So many seconds in a second may two stopwatches get apart; good ones do by a twentieth of it."""


class RedisTime:
    """A clock that agrees with those of the other nodes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_s: float | None = None
        self._doubt_s = 0.0
        self._measured_s = 0.0

    def now_ms(self) -> int:
        """Return milliseconds since 1970, as Redis would say, or this machine if it was never asked."""
        if self._ahead_s is None:
            return self._clock.now_ms()
        return int((self._clock.monotonic_s() + self._ahead_s) * 1_000)

    def stopwatch_s(self) -> float:
        """Return when a question to Redis begins, for `measured`."""
        return self._clock.monotonic_s()

    def measured(self, told_s: float, *, asked_s: float) -> None:
        """Take in that Redis said it was ``told_s``, in an answer that came just now.

        A measurement that took long is passed over as long as a better one is not too old, unless both
        cannot be right: then Redis has another clock now, as after a failover.
        """
        answered_s = self._clock.monotonic_s()
        doubt_s = (answered_s - asked_s) / 2
        ahead_s = told_s - (asked_s + answered_s) / 2
        if self._ahead_s is not None:
            old_doubt_s = self._doubt_s + (answered_s - self._measured_s) * DRIFT
            agree = abs(ahead_s - self._ahead_s) <= doubt_s + old_doubt_s
            if agree and doubt_s > old_doubt_s:
                return
        self._ahead_s, self._doubt_s, self._measured_s = ahead_s, doubt_s, answered_s
