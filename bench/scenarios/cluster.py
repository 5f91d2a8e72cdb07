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


def _sends(
    name: str, title: str, *, senders: int, in_flight: int, groups: int, cluster: tuple[str, ...]
) -> Scenario:
    return Scenario(
        name=name,
        title=f"{senders} senders, spread over the nodes, × {in_flight} unanswered, {title}",
        section=_SECTION,
        task=Task(
            "spread",
            groups=groups,
            senders=senders,
            in_flight=in_flight,
            seconds=4.0,
            warm_up=1.0,
        ),
        peers=(),
        headline=(*_SENDS, "ack_p50_ms", "ack_p99_ms"),
        cluster=cluster,
    )


def _groups(name: str, rate: int, cluster: tuple[str, ...]) -> Scenario:
    return Scenario(
        name=name,
        title=f"30 groups of 6, spread over the nodes, {rate} messages/s",
        section=_SECTION,
        task=Task("spread", groups=30, members=6, senders=30, rate=rate, seconds=4.0, warm_up=1.0),
        peers=(),
        headline=_FANOUT,
        cluster=cluster,
    )


SCENARIOS: Final = (
    _sends(
        "cluster-sends",
        "a conversation each",
        senders=30,
        in_flight=128,
        groups=30,
        cluster=(*_NODES, *_JETSTREAM),
    ),
    _sends(
        "cluster-sends-10x10",
        "a conversation each",
        senders=10,
        in_flight=10,
        groups=10,
        cluster=(*_NODES[::2], *_JETSTREAM),
    ),
    _sends(
        "cluster-one-group",
        "all in one conversation",
        senders=30,
        in_flight=128,
        groups=1,
        cluster=(*_NODES[::2], _JETSTREAM[0]),
    ),
    _groups("cluster-trickle", 30, (_NODES[2],)),
    _groups("cluster-fanout", 300, (*_NODES, _BARE, _JETSTREAM[0])),
)
