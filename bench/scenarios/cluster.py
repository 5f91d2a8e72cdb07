"""Clusters: nodes on one store, beside a JetStream cluster whose stream has three replicas.

All processes of a cluster share the first core, so what is compared is what the cluster as a whole costs.
"""

from typing import Final

from bench.scenario import Scenario
from bench.task import Task

_SECTION: Final = "Clusters"
_NODES: Final = ("imserver, 1 node", "imserver, 2 nodes", "imserver, 3 nodes")
_JETSTREAM: Final = ("jetstream R3", "jetstream R3, sync always")
_PARTS: Final = ("cpu_us_nodes", "cpu_us_mongod", "cpu_us_redis")
_SENDS: Final = ("sends_per_cpu_s", "sends_per_s", "cpu_us_per_send", *_PARTS, "batch")
_FANOUT: Final = (
    *("cpu_us_per_delivery", "cpu_us_per_send", *_PARTS, "cpu_us_per_hint"),
    *("within_p50_ms", "within_p99_ms", "across_p50_ms", "across_p99_ms"),
)
_BARE: Final = "imserver, 3 nodes, bare hints"

SCENARIOS: Final = (
    Scenario(
        name="cluster-sends",
        title="30 senders, spread over the nodes, × 128 unanswered, a conversation each",
        section=_SECTION,
        task=Task("spread", groups=30, senders=30, in_flight=128, seconds=4.0, warm_up=1.0),
        peers=(),
        headline=(*_SENDS, "ack_p50_ms", "ack_p99_ms"),
        cluster=(*_NODES, *_JETSTREAM),
    ),
    Scenario(
        name="cluster-one-group",
        title="30 senders, spread over the nodes, × 128 unanswered, all in one conversation",
        section=_SECTION,
        task=Task("spread", groups=1, senders=30, in_flight=128, seconds=4.0, warm_up=1.0),
        peers=(),
        headline=(*_SENDS, "ack_p50_ms", "ack_p99_ms"),
        cluster=(*_NODES[::2], _JETSTREAM[0]),
    ),
    Scenario(
        name="cluster-trickle",
        title="30 groups of 6, spread over the nodes, 30 messages/s",
        section=_SECTION,
        task=Task("spread", groups=30, members=6, senders=30, rate=30, seconds=4.0, warm_up=1.0),
        peers=(),
        headline=_FANOUT,
        cluster=(_NODES[2],),
    ),
    Scenario(
        name="cluster-fanout",
        title="30 groups of 6, spread over the nodes, 300 messages/s",
        section=_SECTION,
        task=Task("spread", groups=30, members=6, senders=30, rate=300, seconds=4.0, warm_up=1.0),
        peers=(),
        headline=_FANOUT,
        cluster=(*_NODES, _BARE, _JETSTREAM[0]),
    ),
)
