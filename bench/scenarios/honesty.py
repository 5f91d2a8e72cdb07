"""Whether the bench itself can be believed: a server that is stopped for a second, and one measured twice."""

from typing import Final

from bench.scenario import GRAIN_US, Scenario
from bench.task import Task

_SECTION: Final = "Can the bench be believed"
_LONG_S: Final = 60
_TWICE: Final = ("imserver", "imserver, once more")
_FIGURES: Final = ("cpu_us_per_delivery", "p50_ms", "p99_ms", "p999_ms")


def _stall(seconds: int) -> Scenario:
    short = seconds < _LONG_S
    peers = ("imserver", "nats core")
    return Scenario(
        name=f"stall-{seconds}s",
        title=f"stopped for 1 s in {seconds} s of 1,000 messages/s to 10",
        section=_SECTION,
        task=Task("fanout", members=10, rate=1_000, seconds=seconds, stall_seconds=1.0),
        peers=() if short else peers,
        headline=("p50_ms", "p99_ms", "p999_ms"),
        standard=() if short else peers[:1],
        quick=peers[:1] if short else (),
        rounds_max=1,
    )


SCENARIOS: Final = (
    _stall(10),
    _stall(_LONG_S),
    Scenario(
        name="twice-at-2000",
        title="the same server twice: group of 100, 2,000 messages/s",
        section=_SECTION,
        task=Task("fanout", members=100, rate=2_000, grain_us=GRAIN_US),
        peers=_TWICE,
        headline=_FIGURES,
        standard=_TWICE,
    ),
    Scenario(
        name="twice-sends",
        title="the same server twice: 10 senders × 10 unanswered",
        section=_SECTION,
        task=Task("sends", senders=10, in_flight=10, grain_us=GRAIN_US),
        peers=_TWICE,
        headline=("sends_per_s", "cpu_us_per_send", "p99_ms"),
        standard=_TWICE,
    ),
)
