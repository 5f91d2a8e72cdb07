"""(h) Growth: what a send or a delivery costs as the log, the group, and a robot's groups grow. Curves."""

from typing import Final

from bench.scenario import Scenario
from bench.task import Task

LOG_STEPS: Final = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
_STANDARD_STEPS: Final = LOG_STEPS[:4]
_OURS: Final = ("imserver",)
_BOTH: Final = (*_OURS, "imserver, random cids")
"""A cid of the SDK grows with time, which keeps the index of them local; others may not."""
_DELIVERIES_PER_S: Final = 20_000
_MEMBERS_MOST: Final = 9_998
"""A group holds 10,000, and its sender and its owner are members too."""


def _log(name: str, steps: tuple[int, ...], *, standard: bool) -> Scenario:
    return Scenario(
        name=name,
        title=f"10 senders × 10 as one log grows to {steps[-1]:,} events",
        section="Growth",
        task=Task("growth", senders=10, in_flight=10, steps=steps, seconds=3.0),
        peers=() if standard else _BOTH,
        headline=("cpu_us_per_send", "sends_per_s", "p99_ms"),
        standard=_OURS if standard else (),
        rounds_max=1,
    )


def _members(members: int) -> Scenario:
    return Scenario(
        name=f"growth-members-{members}",
        title=f"a group of {members:,}, {_DELIVERIES_PER_S:,} deliveries/s",
        section="Growth",
        task=Task(
            "fanout", members=members, rate=_DELIVERIES_PER_S / members, seconds=4.0, warm_up=1.0
        ),
        peers=("imserver", "nats core"),
        headline=("cpu_us_per_delivery", "p50_ms", "p99_ms"),
        rounds_max=1,
    )


def _groups(groups: int) -> Scenario:
    return Scenario(
        name=f"growth-groups-{groups}",
        title=f"one robot in {groups:,} group{'s' * (groups > 1)}, 2,000 messages/s",
        section="Growth",
        task=Task("fanout", groups=groups, members=1, robots=1, rate=2_000),
        peers=("imserver", "nats core"),
        headline=("cpu_us_per_delivery", "p50_ms", "p99_ms"),
        rounds_max=1,
    )


SCENARIOS: Final = (
    _log("growth-log-short", _STANDARD_STEPS, standard=True),
    _log("growth-log", LOG_STEPS, standard=False),
    *(_members(members) for members in (10, 100, 1_000, _MEMBERS_MOST)),
    *(_groups(groups) for groups in (1, 10, 100, 1_000)),
)
