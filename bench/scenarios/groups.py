"""(c) many groups, (d) direct lines, (g) a mixed fleet: how the cost spreads over many conversations."""

from typing import Final

from bench.scenario import Scenario
from bench.task import Task

_PEERS: Final = ("imserver", "nats core", "mosquitto qos 0", "centrifugo")
_FIGURES: Final = ("cpu_us_per_delivery", "p50_ms", "p99_ms", "p999_ms", "deliveries_per_s")
_FIRST_TWO: Final = _PEERS[:2]

SCENARIOS: Final = (
    Scenario(
        name="groups-1000x10",
        title="1,000 groups of 10 among 1,000 robots, 2,000 messages/s",
        section="Many groups",
        task=Task("fanout", groups=1_000, members=10, robots=1_000, senders=10, rate=2_000),
        peers=_PEERS,
        headline=_FIGURES,
        standard=_FIRST_TWO,
    ),
    Scenario(
        name="direct-5000",
        title="5,000 pairs, 5,000 direct messages/s",
        section="Direct lines",
        task=Task("direct", groups=5_000, rate=5_000, warm_up=2.0),
        peers=_PEERS,
        headline=_FIGURES,
        rounds_max=1,
    ),
    Scenario(
        name="mixed-500",
        title="500 robots in 50 groups: 500 signals/s and 200 commands/s",
        section="Mixed fleet",
        task=Task("mixed", groups=50, members=10, senders=5, rate=200, signals=500, warm_up=1.5),
        peers=_PEERS,
        headline=(*_FIGURES, "signals_skipped"),
        standard=_FIRST_TWO,
    ),
)
