"""How often a device may change hands: two programs that take it from each other must not keep others busy.

The older session of a device is told not to come back (4300). Who comes back all the same, and is replaced in
its turn, costs a handshake, a signal to all its groups and a catching-up each time. So takeovers of a device
have a pace: a few at once, as robots on bad networks need them, and then one a second, for which they wait.
"""

from typing import Final

from imserver.core.clock import Clock

AT_ONCE: Final = 5
EVERY_S: Final = 1.0
WAIT_MAX_S: Final = 1.0
"""Who would have to wait longer for its turn is sent away."""

_FORGET_AT: Final = 1_024


class Takeovers:
    """Counts the takeovers of each device (the generic cell rate algorithm, ITU-T I.371)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_s: dict[tuple[str, str], float] = {}

    def wait_s(self, robot: str, device: str) -> float:
        """Return how many seconds one more takeover has to wait; it counts if that is not too long."""
        now_s = self._clock.monotonic_s()
        due_s = max(self._due_s.get((robot, device), 0.0), now_s)
        wait_s = max(0.0, due_s - now_s - (AT_ONCE - 1) * EVERY_S)
        if wait_s <= WAIT_MAX_S:
            if len(self._due_s) >= _FORGET_AT:
                self._due_s = {key: due for key, due in self._due_s.items() if due > now_s}
            self._due_s[robot, device] = due_s + EVERY_S
        return wait_s
