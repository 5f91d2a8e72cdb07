"""What the route tier counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class RouteMetrics:
    """Counters of hints between nodes; read by `/metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.published = Counter(
            "imserver_hints_published", "Hints handed to Redis", registry=registry
        )
        self.received = Counter(
            "imserver_hints_received", "Hints of other nodes", registry=registry
        )
        self.dropped = Counter(
            "imserver_hints_dropped",
            "Hints thrown away because Redis did not take them; readers find the events in the store",
            registry=registry,
        )
        self.connected = Gauge(
            "imserver_route_connected", "1 while hints can come and go", registry=registry
        )
