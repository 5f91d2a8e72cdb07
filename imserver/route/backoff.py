"""How long to wait before another attempt: exponential, with full jitter."""

import random
from typing import Final

FIRST_S: Final = 0.05
MOST_S: Final = 2.0


class Backoff:
    """The waits between attempts, in seconds.

    Source of the idea: M. Brooker, "Exponential backoff and jitter", 2015.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._cap_s = FIRST_S

    def reset(self) -> None:
        """Begin anew, since an attempt succeeded."""
        self._cap_s = FIRST_S

    def next_s(self) -> float:
        """Return the next wait."""
        cap_s, self._cap_s = self._cap_s, min(2 * self._cap_s, MOST_S)
        return self._dice.uniform(FIRST_S / 2, cap_s)
