"""(b) Durable sends: senders that keep a number of sends unanswered each, and nobody who receives.

What an answer promises differs from peer to peer, and the report says so: imserver, JetStream with
``sync_interval: always``, Redis with ``appendfsync always`` and RabbitMQ answer after an fsync; the others
answer before the disk has anything.
"""

from typing import Final

from bench.scenario import GRAIN_US, Scenario
from bench.task import Task

_ALL: Final = (
    "imserver",
    "jetstream",
    "jetstream, sync always",
    "redis streams, fsync always",
    "redis streams, everysec",
    "mosquitto qos 1",
    "mosquitto qos 1, saved",
    "rabbitmq classic",
    "rabbitmq quorum",
    "centrifugo",
)
_SYNCED: Final = (*_ALL[:4], "rabbitmq classic")
_COALESCED_FROM: Final = 100


def _sends(senders: int, in_flight: int) -> Scenario:
    middle = (senders, in_flight) == (10, 10)
    return Scenario(
        name=f"sends-{senders}x{in_flight}",
        title=f"{senders} sender{'s' * (senders > 1)} × {in_flight} unanswered",
        section="Acked sends",
        task=Task(
            "sends",
            senders=senders,
            in_flight=in_flight,
            grain_us=GRAIN_US if senders * in_flight >= _COALESCED_FROM else 0,
        ),
        peers=_ALL,
        headline=("sends_per_s", "cpu_us_per_send", "p50_ms", "p99_ms", "p999_ms"),
        standard=_ALL if middle else _SYNCED if (senders, in_flight) == (1, 1) else (),
        quick=_SYNCED if middle else (),
    )


SCENARIOS: Final = tuple(
    _sends(senders, in_flight) for senders in (10, 1, 100) for in_flight in (10, 1, 100)
)
