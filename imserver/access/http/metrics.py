"""What the HTTP API counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class HttpMetrics:
    """Counters of answers that take their time; read by `/metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stays = Gauge(
            "imserver_http_stays", "Long polls and streams that are open", registry=registry
        )
        self.stays_refused = Counter(
            "imserver_http_stays_refused",
            "Long polls and streams refused because their robot has too many",
            registry=registry,
        )
        self.skipped = Counter(
            "imserver_http_events_skipped",
            "Events that streams skipped because their readers were slow and had chosen so",
            registry=registry,
        )
