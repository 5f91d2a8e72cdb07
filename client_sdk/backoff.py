"""Whether and when to connect again.

Waits are exponential with full jitter: a fleet that lost its server at one moment must not come back at one
moment. Source of the idea: "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
"""

import random

from client_sdk.errors import Refused, RobotError, StayAway
from imserver.protocol.errors import AfterClose, ErrorCode, after_close
from imserver.protocol.server_frames import Bye

STABLE_S = 5.0
"""A session that held this long shows that all is well: waits begin small again."""

LATER_MS = 1_000
TOLD_MAX_MS = 3_600_000
"""A server that says longer is asked again after an hour: it may have meant something else."""

TOLD_SPREAD_S = 1.0
UNANSWERED_SPREAD_S = 5.0
"""Who got no answer at all in time finds a server with too much to do, or none: to hurry makes it worse."""

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

    def next_s(self, least_ms: int | None = None, *, bound_min_s: float = 0.0) -> float:
        """Return the next wait in seconds: ``least_ms`` and up to the bound on top.

        Who was told how long to wait adds no more than as much again: the server knows better.
        """
        bound = max(bound_min_s, self._base_s * 2 ** min(self.attempts, _EXPONENT_MAX))
        bound = min(bound, self._cap_s)
        self.attempts += 1
        least_s = min(least_ms or 0, TOLD_MAX_MS) / 1000
        if least_ms is not None:
            bound = min(bound, max(least_s, TOLD_SPREAD_S))
        return least_s + self._dice.uniform(0.0, bound)

    def within_second_ms(self, whole_s: int) -> int:
        """Return a moment, in milliseconds, somewhere in the second that begins after ``whole_s``."""
        return whole_s * 1000 + int(self._dice.uniform(0.0, 1000.0))


class Reconnect:
    """What follows when a connection has ended, by the ranges of close codes.

    Attributes:
        at_once: come back at once when this connection has ended, without any wait.
        unanswered: the server did not answer in time, or did not say welcome.
        retry_after_ms: least wait that the server asked for on this connection.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._doubts = 0
        self._online_since_s: float | None = None
        self._bye: Bye | None = None
        self.at_once = False
        self.unanswered = False
        self.retry_after_ms: int | None = None

    def opened(self, now_s: float) -> None:
        """Note that a session is open."""
        self._online_since_s = now_s

    def told(self, bye: Bye) -> None:
        """Note the server's goodbye, which counts more than how the connection then ends."""
        self._bye = bye
        self.retry_after_ms = bye.retry_after

    def turned_away(self, retry_after_s: int) -> None:
        """Note how long the server asked to wait when it refused a connection, in HTTP's whole seconds.

        What the header cannot say is drawn: all who were told the same must not come back at one moment.
        """
        self.retry_after_ms = self._backoff.within_second_ms(retry_after_s)

    def after(self, code: int, reason: str, now_s: float) -> tuple[str, float | RobotError]:
        """Return what happened, and after how many seconds to connect again, or why not to.

        40xx: at once the first time. 41xx: after ``retry_after_ms``. 42xx: once more, then it is refused.
        43xx: never. Anything else: soon.
        """
        if self._bye is not None:
            code, reason = self._bye.code, self._bye.reason
        if self._online_since_s is not None and now_s - self._online_since_s >= STABLE_S:
            self._backoff.reset()
            self._doubts = 0
        wait = 0.0 if self.at_once else self._wait(code, reason)
        self._forget()
        return f"{reason or 'the connection was lost'} ({code})", wait

    def _wait(self, code: int, reason: str) -> float | RobotError:
        match after_close(code):
            case AfterClose.STAY_AWAY:
                return StayAway(code, reason)
            case AfterClose.AUTHENTICATE:
                self._doubts += 1
                if self._doubts > 1:
                    return Refused(ErrorCode.UNAUTHENTICATED, f"{reason} ({code})")
                return self._backoff.next_s()
            case AfterClose.RECONNECT_LATER:
                return self._backoff.next_s(self.retry_after_ms or LATER_MS)
        if code // 100 == 40 and self._backoff.attempts == 0:
            self._backoff.attempts = 1
            return 0.0
        bound_min_s = UNANSWERED_SPREAD_S if self.unanswered else 0.0
        return self._backoff.next_s(self.retry_after_ms, bound_min_s=bound_min_s)

    def _forget(self) -> None:
        self.at_once = self.unanswered = False
        self.retry_after_ms = self._online_since_s = self._bye = None
