"""(a) Fan-out: one group of readers, one sender.

At a rate the load is open: message *i* is due at *start + i / rate* whatever the server does, and the latency
of a delivery counts from there. Flat out it is closed: a number of messages is on the way, counted until the
last reader has them, and that number is each server's best.
"""

from typing import Final

from bench.scenario import GRAIN_US, Scenario, grain_us
from bench.task import Task

SECTION: Final = "Fan-out"
RATES: Final = (50, 200, 2_000, 5_000)
_OURS_AND_NATS: Final = ("imserver", "nats core")
_WEBSOCKET_SERVERS: Final = ("centrifugo", "python-socketio", "websockets broadcast")
_ALL: Final = (
    *_OURS_AND_NATS,
    *_WEBSOCKET_SERVERS,
    "mosquitto qos 0",
    "rabbitmq fanout",
)
_WITH_REDIS: Final = (*_ALL, "redis streams, everysec")
"""Its readers have to ask after each answer, which at more than a trickle busies the generator most."""
_RATE_FIGURES: Final = ("cpu_us_per_delivery", "p50_ms", "p99_ms", "p999_ms", "deliveries_per_s")
_FLAT_FIGURES: Final = ("deliveries_per_s", "cpu_us_per_delivery")
_STANDARD: Final = {
    50: (*_OURS_AND_NATS, "mosquitto qos 0"),
    200: _WITH_REDIS,
    2_000: _ALL,
    5_000: _ALL[:5],
}
_LIGHT: Final = (*_ALL[:3], "mosquitto qos 0", "websockets broadcast")
"""Those that large groups at high rates do not keep busy for minutes."""


def _at_rate(members: int, rate: int) -> Scenario:
    middle = members == 100
    return Scenario(
        name=f"fanout-{members}-at-{rate}",
        title=f"group of {members:,}, {rate:,} messages/s",
        section=SECTION,
        task=Task("fanout", members=members, rate=rate, grain_us=grain_us(members * rate)),
        peers=_WITH_REDIS
        if rate <= 200 and middle
        else _ALL
        if members * rate <= 200_000
        else _LIGHT,
        headline=_RATE_FIGURES,
        standard=_STANDARD[rate] if middle else (_OURS_AND_NATS if rate == 200 else ()),
        quick=_OURS_AND_NATS if middle and rate in {200, 2_000} else (),
    )


def _flat(members: int) -> Scenario:
    return Scenario(
        name=f"fanout-{members}-flat-out",
        title=f"group of {members:,}, flat out",
        section=SECTION,
        task=Task("fanout", members=members, grain_us=GRAIN_US),
        peers=_WITH_REDIS if members == 100 else _ALL if members < 100 else _LIGHT,
        headline=_FLAT_FIGURES,
        standard=_WITH_REDIS if members == 100 else _OURS_AND_NATS,
        quick=_OURS_AND_NATS if members == 100 else (),
    )


SCENARIOS: Final = tuple(
    scenario
    for members in (100, 10, 1_000)
    for scenario in (*(_at_rate(members, rate) for rate in RATES), _flat(members))
)
