"""Catch-up: a robot that was away for 200,000 events connects and reads them all."""

from contextlib import closing
from typing import Final

from msgspec import Struct

from bench.crowd import CONVERSATION, Crowd
from bench.fleet import Fleet
from bench.load.follower import Follower
from bench.load.ledger import Ledger, Tape
from bench.load.loop import Loop
from bench.load.station import Station
from bench.load.wire import body_of
from bench.scenario import BODY_BYTES, DRAIN_S, SHARES, Figure, Findings, Task, findings, measured

READER: Final = "sender0"
IN_FLIGHT: Final = 100
BACKLOG_S: Final = 60.0


class CatchUp(Struct, frozen=True):
    """One reader of a backlog of 256-byte messages."""

    name: str
    title: str
    backlog: int
    window: int
    rate_reference: float

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What a run returns."""
        return (
            Figure("events_per_s", "events/s", "more", self.rate_reference),
            Figure("cpu_us_per_event", "µs server CPU per event", "less"),
            *SHARES,
        )

    def run(self, task: Task) -> Findings:
        """Write the backlog, read it and return what was found."""
        head = self._write_backlog(task)
        loop, body = Loop(), body_of(BODY_BYTES)
        ledger = Ledger(lambda cid: int(cid.startswith(READER)), body)
        fleet = Fleet(task.port, task.directory)
        with measured(task.server_pid) as window:
            connection, _ = fleet.connect(READER, window=self.window)
            follower = Follower(
                connection, conv=CONVERSATION, window=self.window, tape=Tape(), ledger=ledger
            )
            Station(loop, connection, follower)
            loop.run_until(lambda: follower.seq >= head, seconds=DRAIN_S, what="the last event")
        connection.close()
        loop.close()
        return findings(
            window,
            saturating=True,
            events_per_s=head / window.used.seconds,
            cpu_us_per_event=window.used.server_s / head * 1e6,
        )

    def _write_backlog(self, task: Task) -> int:
        """Have the later reader, which receives nothing yet, send it; return the head of the log."""
        with closing(Crowd(task, senders=1)) as crowd:
            crowd.saturate(IN_FLIGHT)
            crowd.loop.run_until(
                lambda: crowd.answered() >= self.backlog, seconds=BACKLOG_S, what="the backlog"
            )
            crowd.drain()
        return 1 + crowd.answered()


SCENARIOS: Final = (
    CatchUp("catchup", "200,000 events of backlog, window 1,024", 200_000, 1_024, 300_000),
    CatchUp("catchup-wide", "the same, window 16,384", 200_000, 16_384, 300_000),
)
