"""Fan-out: one group of 100 that receive; the senders are members too and follow nothing themselves.

At a rate the load is open: message *i* is due at *start + i / rate* whatever the server does, and a
delivery's latency counts from there. Flat out it is closed, and only throughput and CPU are told.
"""

from contextlib import closing
from typing import Final

from msgspec import Struct

from bench.crowd import Crowd
from bench.load.histogram import Histogram
from bench.load.pace import Pace
from bench.load.wire import Broken
from bench.scenario import SHARES, WARM_UP_S, Figure, Findings, Task, findings, measured

READERS: Final = 100
ACHIEVED_MIN: Final = 0.99
LAG_P99_MS_MAX: Final = 5.0


class FanOutAtRate(Struct, frozen=True):
    """One sender at ``rate`` messages a second into a group of 100."""

    name: str
    title: str
    rate: int
    cpu_reference: float

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What a run returns."""
        return (
            Figure("cpu_us_per_delivery", "µs server CPU per delivery", "less", self.cpu_reference),
            Figure("cpu_us_per_send", "µs server CPU per send", "less"),
            Figure("deliveries_per_s", "deliveries/s", "more", float(self.rate * READERS)),
            Figure("delivery_p50_ms", "ms from due to delivered, p50", "less"),
            Figure("delivery_p99_ms", "ms from due to delivered, p99", "less"),
            Figure("lag_p99_ms", "ms that the generator sent late, p99", "less"),
            *SHARES,
        )

    def run(self, task: Task) -> Findings:
        """Run the load and return what was found."""
        with closing(Crowd(task, senders=1, readers=READERS)) as crowd:
            crowd.wait_joined()
            pace = Pace(crowd.loop, crowd.senders[0], rate=self.rate)
            crowd.loop.run(seconds=min(WARM_UP_S, task.seconds))
            latency = Histogram()
            crowd.record(acks=None, deliveries=latency)
            with measured(task.server_pid) as window:
                before = crowd.delivered()
                crowd.loop.run(seconds=task.seconds)
                deliveries = crowd.delivered() - before
            pace.stop()
            crowd.drain()
        achieved = deliveries / (window.used.seconds * self.rate * READERS)
        if achieved < ACHIEVED_MIN:
            raise Broken(f"only {achieved:.1%} of the offered load was delivered in the window")
        lag_ms = pace.lag.percentile_ms(99)
        found = findings(
            window,
            saturating=False,
            cpu_us_per_delivery=window.used.server_s / deliveries * 1e6,
            cpu_us_per_send=window.used.server_s / deliveries * READERS * 1e6,
            deliveries_per_s=deliveries / window.used.seconds,
            delivery_p50_ms=latency.percentile_ms(50),
            delivery_p99_ms=latency.percentile_ms(99),
            lag_p99_ms=lag_ms,
        )
        if lag_ms > LAG_P99_MS_MAX:
            found.flags.append(f"the generator sent up to {lag_ms:.1f} ms late (p99)")
        return found


class FanOutFlatOut(Struct, frozen=True):
    """Senders that keep a number of messages in flight each, into a group of 100."""

    name: str
    title: str
    senders: int
    in_flight: int
    rate_reference: float
    cpu_reference: float

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What a run returns."""
        per_s = self.rate_reference
        return (
            Figure("sends_per_s", "sends/s", "more", per_s),
            Figure("deliveries_per_s", "deliveries/s", "more", per_s * READERS),
            Figure("cpu_us_per_delivery", "µs server CPU per delivery", "less", self.cpu_reference),
            Figure("cpu_us_per_send", "µs server CPU per send", "less"),
            *SHARES,
        )

    def run(self, task: Task) -> Findings:
        """Run the load and return what was found."""
        with closing(Crowd(task, senders=self.senders, readers=READERS)) as crowd:
            crowd.wait_joined()
            crowd.saturate(self.in_flight)
            crowd.loop.run(seconds=min(WARM_UP_S, task.seconds))
            with measured(task.server_pid) as window:
                answered, delivered = crowd.answered(), crowd.delivered()
                crowd.loop.run(seconds=task.seconds)
                sends, deliveries = crowd.answered() - answered, crowd.delivered() - delivered
            crowd.drain()
        if not deliveries:
            raise Broken("nothing was delivered in the measured window")
        return findings(
            window,
            saturating=True,
            sends_per_s=sends / window.used.seconds,
            deliveries_per_s=deliveries / window.used.seconds,
            cpu_us_per_delivery=window.used.server_s / deliveries * 1e6,
            cpu_us_per_send=window.used.server_s / deliveries * READERS * 1e6,
        )


SCENARIOS: Final = (
    FanOutFlatOut(
        "fanout-flat",
        f"group of {READERS}, flat out (2 senders × 256 in flight)",
        senders=2,
        in_flight=256,
        rate_reference=63_600,
        cpu_reference=0.17,
    ),
    FanOutAtRate("fanout-2000", f"group of {READERS}, 2,000 messages/s", 2_000, 4.1),
    FanOutAtRate("fanout-200", f"group of {READERS}, 200 messages/s", 200, 17.0),
)
