"""Latencies of the last few thousand sends, and their percentiles."""

from collections import deque
from typing import Final

SAMPLES_MAX: Final = 4_096


class Latencies:
    """A sliding window of durations in seconds."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=SAMPLES_MAX)
        self.count = 0

    def add(self, seconds: float) -> None:
        """Take in a duration; the oldest beyond the window is forgotten."""
        self._samples.append(seconds)
        self.count += 1

    def percentile_ms(self, percent: float) -> float | None:
        """Return the duration, in milliseconds, that ``percent`` of the window do not exceed (nearest rank);
        None without any."""
        if not self._samples:
            return None
        ranked = sorted(self._samples)
        rank = max(-(-len(ranked) * percent // 100), 1)
        return ranked[int(rank) - 1] * 1_000

    def __str__(self) -> str:
        p50, p99 = self.percentile_ms(50), self.percentile_ms(99)
        return "none yet" if p50 is None or p99 is None else f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
