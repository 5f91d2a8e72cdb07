"""Shows what an engine on MongoDB counts, on `/metrics`."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from imserver.data.counters import by_label
from imserver.data.mongo.counts import MongoCounts


class MongoMetrics(Collector):
    """Reads the counts whenever it is asked."""

    def __init__(self, counts: MongoCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        counts = self._counts
        yield by_label(
            "imserver_store_retries",
            "Times a batch was planned anew: overtaken by another node, or a cid was stored already",
            "why",
            {"overtaken": counts.overtaken, "repeated": counts.repeated},
        )
        yield CounterMetricFamily(
            "imserver_store_outcomes_unknown",
            "Inserts whose outcome had to be looked for, after an error of the network or the set",
            value=counts.unknown,
        )
        yield CounterMetricFamily(
            "imserver_store_taken_back",
            "Events that had landed where retention was done, and were stored anew",
            value=counts.taken_back,
        )
