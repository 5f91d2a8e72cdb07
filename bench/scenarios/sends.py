"""Durable sends: every message is answered only after the disk has it.

The senders are the members of one group. They connect with ``auto`` off, so that the figure is that of
sending alone, or with it on (``echo``): then every sender also receives what all of them sent.
"""

from contextlib import closing
from typing import Final

from msgspec import Struct

from bench.crowd import Crowd
from bench.load.histogram import Histogram
from bench.load.wire import Broken
from bench.scenario import SHARES, WARM_UP_S, Figure, Findings, Task, findings, measured


class Sends(Struct, frozen=True):
    """Senders that keep a number of messages in flight each."""

    name: str
    title: str
    senders: int
    in_flight: int
    echo: bool = False
    rate_reference: float | None = None
    cpu_reference: float | None = None

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What a run returns."""
        return (
            Figure("sends_per_s", "acked sends/s", "more", self.rate_reference),
            Figure("cpu_us_per_send", "µs server CPU per send", "less", self.cpu_reference),
            Figure("ack_p50_ms", "ms to the ack, p50 (closed loop)", "less"),
            Figure("ack_p99_ms", "ms to the ack, p99 (closed loop)", "less"),
            *SHARES,
        )

    def run(self, task: Task) -> Findings:
        """Run the load and return what was found."""
        with closing(Crowd(task, senders=self.senders, echo=self.echo)) as crowd:
            crowd.wait_joined()
            crowd.saturate(self.in_flight)
            crowd.loop.run(seconds=min(WARM_UP_S, task.seconds))
            latency = Histogram()
            crowd.record(acks=latency, deliveries=None)
            with measured(task.server_pid) as window:
                before = crowd.answered()
                crowd.loop.run(seconds=task.seconds)
                answered = crowd.answered() - before
            crowd.drain()
        if not answered:
            raise Broken("no message was answered in the measured window")
        return findings(
            window,
            saturating=True,
            sends_per_s=answered / window.used.seconds,
            cpu_us_per_send=window.used.server_s / answered * 1e6,
            ack_p50_ms=latency.percentile_ms(50),
            ack_p99_ms=latency.percentile_ms(99),
        )


SCENARIOS: Final = (
    Sends(
        "sends-10x10",
        "durable sends, 10 senders × 10 in flight",
        senders=10,
        in_flight=10,
        rate_reference=61_000,
        cpu_reference=13,
    ),
    Sends(
        "sends-10x10-echo",
        "the same, and every sender receives all of them",
        senders=10,
        in_flight=10,
        echo=True,
    ),
    Sends(
        "sends-1x100",
        "durable sends, 1 sender × 100 in flight",
        senders=1,
        in_flight=100,
        rate_reference=76_000,
    ),
    Sends(
        "sends-1x1",
        "durable sends, 1 sender × 1 in flight",
        senders=1,
        in_flight=1,
        rate_reference=3_900,
    ),
)
