"""Whether and when to connect again.

Waits are exponential with full jitter: a fleet that lost its server at one moment must not come back at one
moment. Source of the idea: "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
"""

import random

from client_sdk.errors import Refused, RobotError, StayAway
from imserver.protocol.errors import AfterClose, ErrorCode, after_close

STABLE_S = 5.0
"""A session that held this long shows that all is well: waits begin small again."""

LATER_MS = 1_000
_EXPONENT_MAX = 32


class Backoff:
    """Waits that grow from attempt to attempt, each a random part of its bound."""

    def __init__(self, base_s: float, cap_s: float, dice: random.Random) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._dice = dice
        self.attempts = 0

    def reset(self) -> None:
        """Begin small again."""
        self.attempts = 0

    def next_s(self, least_ms: int | None = None) -> float:
        """Return the next wait in seconds: ``least_ms`` and up to the bound on top."""
        bound = min(self._cap_s, self._base_s * 2 ** min(self.attempts, _EXPONENT_MAX))
        self.attempts += 1
        return (least_ms or 0) / 1000 + self._dice.uniform(0.0, bound)


class Reconnect:
    """What follows when a connection has ended, by the ranges of close codes."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._doubts = 0

    def held(self, online_s: float) -> None:
        """Note how long a session was open."""
        if online_s >= STABLE_S:
            self._backoff.reset()
            self._doubts = 0

    def after(self, code: int, reason: str, retry_after_ms: int | None) -> float | RobotError:
        """Return after how many seconds to connect again, or why not to.

        40xx: at once the first time. 41xx: after ``retry_after_ms``. 42xx: once more, then it is refused.
        43xx: never. Anything else: soon.
        """
        match after_close(code):
            case AfterClose.STAY_AWAY:
                return StayAway(code, reason)
            case AfterClose.AUTHENTICATE:
                self._doubts += 1
                if self._doubts > 1:
                    return Refused(ErrorCode.UNAUTHENTICATED, f"{reason} ({code})")
                return self._backoff.next_s()
            case AfterClose.RECONNECT_LATER:
                return self._backoff.next_s(retry_after_ms or LATER_MS)
        if code // 100 == 40 and self._backoff.attempts == 0:
            self._backoff.attempts = 1
            return 0.0
        return self._backoff.next_s(retry_after_ms)
