"""How what the data tier counts by itself is shown on `/metrics`."""

from collections.abc import Mapping

from prometheus_client.core import CounterMetricFamily


def by_label(
    name: str, documentation: str, label: str, counts: Mapping[str, int]
) -> CounterMetricFamily:
    """Return a metric of several counts, by what ``label`` says of each."""
    family = CounterMetricFamily(name, documentation, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
