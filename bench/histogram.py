"""Histograms of latencies in buckets of one part in a thousand (the idea of HdrHistogram).

``bench/loadgen/histogram.go`` fills them; here they are merged by adding buckets, and read. Percentiles are
never averaged.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

_BITS: Final = 11
_BUCKETS: Final = 1 << _BITS
_HALF: Final = _BUCKETS >> 1

Buckets = list[tuple[int, int]]
"""(bucket, count), by rising bucket."""


def merged(histograms: Iterable[Buckets]) -> Buckets:
    """Return the sum of histograms."""
    total: Counter[int] = Counter()
    for one in histograms:
        total.update(dict(one))
    return sorted(total.items())


def percentile_ms(buckets: Buckets, percent: float) -> float:
    """Return the duration, in milliseconds, that ``percent`` of all were no longer than; 0 if none."""
    left = sum(count for _, count in buckets) * percent / 100
    for bucket, count in buckets:
        left -= count
        if left <= 0:
            return upper_us(bucket) / 1_000
    return 0.0


def curve(buckets: Buckets) -> Iterator[tuple[float, float]]:
    """Yield (milliseconds, share of all that took longer), by rising milliseconds."""
    total = left = sum(count for _, count in buckets)
    for bucket, count in buckets:
        left -= count
        yield upper_us(bucket) / 1_000, left / total


def upper_us(bucket: int) -> int:
    """Return the longest duration, in microseconds, that a bucket counts."""
    if bucket < _BUCKETS:
        return bucket
    shift = bucket // _HALF - 1
    return ((bucket - shift * _HALF + 1) << shift) - 1
