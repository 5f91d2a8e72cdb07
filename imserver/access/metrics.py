"""What the access tier counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class AccessMetrics:
    """Counters of connections; read by `/metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connections = Gauge(
            "imserver_connections", "Open connections, greeted or not", registry=registry
        )
        self.accepted = Counter(
            "imserver_connections_accepted", "Handshakes that were completed", registry=registry
        )
        self.turned_away = Counter(
            "imserver_connections_turned_away",
            "Connections refused because of a cap, a drain, or too many newcomers at once",
            registry=registry,
        )
        self.closed_for_offences = Counter(
            "imserver_connections_closed_for_offences",
            "Connections closed for malformed frames",
            registry=registry,
        )
        self.http_malformed = Counter(
            "imserver_http_requests_malformed",
            "Connections closed for a request that is none, or whose head is not acceptable",
            registry=registry,
        )
        self.closed_slow = Counter(
            "imserver_connections_closed_slow",
            "Connections closed because their client took nothing for a whole ping interval",
            registry=registry,
        )
        self.held_for_rate = Counter(
            "imserver_connections_held_for_rate",
            "Times that a client was not read from because of its robot's or address's rate",
            registry=registry,
        )
        self.refused_for_rate = Counter(
            "imserver_frames_refused_for_rate",
            "Frames and requests refused because of their robot's or address's rate",
            registry=registry,
        )
