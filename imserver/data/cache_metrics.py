"""What is counted of the cache beside a shared store, and shown on `/metrics`."""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from imserver.data.counters import by_label


class CacheCounts:
    """Counts since the start; they only rise.

    Attributes:
        from_cache, from_store: events of pages that were found there.
        outdated: pages that were found and not given, since the store keeps them no more.
        refused: values that are not what this deployment has kept there.
    """

    def __init__(self) -> None:
        self.from_cache = 0
        self.from_store = 0
        self.outdated = 0
        self.refused = 0


class CacheMetrics(Collector):
    """Reads the counts whenever it is asked.

    Args:
        is_open: tells whether the cache is in use.
    """

    def __init__(self, counts: CacheCounts, is_open: Callable[[], bool]) -> None:
        self._counts = counts
        self._is_open = is_open

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        counts = self._counts
        yield by_label(
            "imserver_log_events_read",
            "Events of pages that were read, by source",
            "source",
            {"cache": counts.from_cache, "store": counts.from_store},
        )
        yield by_label(
            "imserver_cache_not_used",
            "What was found in the cache and not used: let go by the store meanwhile, or not written by us",
            "why",
            {"outdated": counts.outdated, "refused": counts.refused},
        )
        yield GaugeMetricFamily(
            "imserver_cache_open", "1 while the cache answers in time", value=self._is_open()
        )
