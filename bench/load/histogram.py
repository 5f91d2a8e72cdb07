"""A histogram of latencies in buckets of one part in a thousand (the idea of HdrHistogram).

Recording is a few integer operations, so that millions of deliveries can be recorded while they are
received. Merging adds buckets; percentiles are never averaged.
"""

from typing import Final

_BITS: Final = 11
_BUCKETS: Final = 1 << _BITS
_HALF: Final = _BUCKETS >> 1
_LONGEST_US: Final = 60_000_000
_SIZE: Final = ((_LONGEST_US.bit_length() - _BITS) + 2) * _HALF


class Histogram:
    """Counts of durations from 1 µs to 60 s; what is longer counts as 60 s."""

    def __init__(self) -> None:
        self._counts = [0] * _SIZE

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return sum(self._counts)

    def record_ns(self, duration_ns: int) -> None:
        """Count a duration given in nanoseconds."""
        value = duration_ns // 1_000
        if value >= _BUCKETS:
            value = min(value, _LONGEST_US)
            shift = value.bit_length() - _BITS
            value = shift * _HALF + (value >> shift)
        elif value < 0:
            value = 0
        self._counts[value] += 1

    def add(self, other: "Histogram") -> None:
        """Count everything that ``other`` counted."""
        for index, count in enumerate(other._counts):
            self._counts[index] += count

    def percentile_ms(self, percent: float) -> float:
        """Return the duration, in milliseconds, that ``percent`` of all were no longer than; 0 if none."""
        left = self.total * percent / 100
        for index, count in enumerate(self._counts):
            left -= count
            if count and left <= 0:
                return _upper_us(index) / 1_000
        return 0.0


def _upper_us(index: int) -> int:
    if index < _BUCKETS:
        return index
    shift = index // _HALF - 1
    return ((index - shift * _HALF + 1) << shift) - 1
