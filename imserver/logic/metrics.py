"""What the logic tier counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class LogicMetrics:
    """Counters of events and commits; read by `/metrics`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stored = Counter("imserver_events_stored", "Events made durable", registry=registry)
        self.duplicates = Counter(
            "imserver_events_duplicate",
            "Sends whose cid was stored before, answered with the first seq",
            registry=registry,
        )
        self.refused = Counter(
            "imserver_events_refused",
            "Sends that reached the store and were definitely not stored",
            registry=registry,
        )
        self.unavailable = Counter(
            "imserver_events_unavailable",
            "Sends answered `unavailable` because the store took no writes",
            registry=registry,
        )
        self.overloaded = Counter(
            "imserver_events_overloaded", "Sends refused to robots that flood", registry=registry
        )
        self.trimmed = Counter(
            "imserver_events_trimmed", "Events let go by retention", registry=registry
        )
        self.losses = Counter(
            "imserver_data_loss_suspected",
            "Robots that resumed from beyond the head of a log: events that were acked are lost",
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "imserver_commit_seconds",
            "Time from handing a batch to the store until it is durable",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
            registry=registry,
        )
        self.commit_events = Histogram(
            "imserver_commit_events",
            "Events in one commit",
            buckets=(0, 1, 2, 5, 10, 20, 50, 100, 200, 512),
            registry=registry,
        )
        self.sessions = Gauge("imserver_sessions", "Open sessions", registry=registry)
        self.conversations = Gauge(
            "imserver_conversations_held", "Conversations held in memory", registry=registry
        )
        self.readers_behind = Counter(
            "imserver_readers_fallen_behind",
            "Times a reader stopped being pushed to and was fed from the log",
            registry=registry,
        )


class IntakeMetrics:
    """What a node counts of the commits of others."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.fetched = Counter(
            "imserver_events_fetched",
            "Events of other nodes that were read from the store, since no hint brought them",
            registry=registry,
        )


class ForwardingMetrics:
    """What a node counts of sends that one node appends for another."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.forwarded = Counter(
            "imserver_appends_forwarded",
            "Sends that another node was asked to append, and has answered",
            registry=registry,
        )
        self.fell_back = Counter(
            "imserver_appends_fallen_back",
            "Sends that another node was asked to append and were then appended here, since it did not "
            "answer, or declined",
            registry=registry,
        )
        self.served = Counter(
            "imserver_appends_served",
            "Sends that were appended here for other nodes",
            registry=registry,
        )


class AuditMetrics:
    """What is counted of administrative acts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.acts = Counter(
            "imserver_acts",
            "Administrative acts that were carried out or reported",
            ["act"],
            registry=registry,
        )
