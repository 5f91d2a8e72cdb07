"""Rate limits by the generic cell rate algorithm: for each key one number, the time at which it is even.

The story. Each unit of traffic takes its key's time at the rate that is allowed: with ten a second, a tenth
of a second. The number is when all that came so far has had its time. As long as it is no more than the
burst ahead of the clock, the key is within its rate; what it is ahead of that, the next unit has to wait. A
key whose number has passed is like one that was never seen, and is forgotten when room is needed.

Units and bytes share the number: what comes at once takes the longer of the two times, so that neither rate
can be exceeded. It keeps no clock; callers hand in the time of one that never jumps.

Source of the idea: ITU-T I.371, annex A.
"""

import heapq
import math
from typing import Final, NamedTuple

KEYS_MAX: Final = 65_536


class Rate(NamedTuple):
    """So many units and bytes in a second; 0 stands for any number."""

    units_per_s: float
    bytes_per_s: float

    def seconds(self, units: int, size: int) -> float:
        """Return the time that ``units`` of ``size`` bytes together take."""
        by_units = units / self.units_per_s if self.units_per_s else 0.0
        by_bytes = size / self.bytes_per_s if self.bytes_per_s else 0.0
        return max(by_units, by_bytes)

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self.units_per_s or self.bytes_per_s)


class Rates:
    """Keys that share one rate, each on its own."""

    def __init__(self, rate: Rate, *, burst_s: float, keys_max: int = KEYS_MAX) -> None:
        self._rate = rate
        self._burst_s = burst_s
        self._keys_max = keys_max
        self._even_s: dict[str, float] = {}

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._even_s)

    def wait_s(self, key: str, now_s: float) -> float:
        """Return the seconds until ``key`` is within its rate; 0 if it is."""
        return max(0.0, self._even_s.get(key, 0.0) - self._burst_s - now_s)

    def charge(
        self, key: str, units: int, size: int, now_s: float, *, wait_max_s: float = math.inf
    ) -> float:
        """Count what came; return the seconds until ``key`` is within its rate again, 0 if it is.

        What it would have to wait for beyond ``wait_max_s`` is in the answer alone, and not counted.
        """
        cost_s = self._rate.seconds(units, size)
        if not cost_s:
            return self.wait_s(key, now_s)
        even_s = self._even_s.get(key)
        if even_s is None and len(self._even_s) >= self._keys_max:
            self._forget(now_s)
        if even_s is None or even_s < now_s:
            even_s = now_s
        after_s = even_s + cost_s
        within_s = now_s + self._burst_s
        self._even_s[key] = min(after_s, max(even_s, within_s + wait_max_s))
        return max(0.0, after_s - within_s)

    def takes(self, key: str, units: int, size: int, now_s: float) -> float:
        """Count what came if it is within the rate and return 0; else the seconds until it would be.

        What alone takes longer than the burst is let in when nothing is owed.
        """
        cost_s = min(self._rate.seconds(units, size), self._burst_s)
        owed_s = max(0.0, self._even_s.get(key, 0.0) - now_s)
        wait_s = owed_s + cost_s - self._burst_s
        if wait_s > 1e-9:  # less is the rounding of the sums
            return wait_s
        self.charge(key, units, size, now_s)
        return 0.0

    def _forget(self, now_s: float) -> None:
        owing = {key: even_s for key, even_s in self._even_s.items() if even_s > now_s}
        if len(owing) > self._keys_max // 2:
            most = heapq.nlargest(self._keys_max // 2, owing, key=owing.__getitem__)
            owing = {key: owing[key] for key in most}
        self._even_s = owing
