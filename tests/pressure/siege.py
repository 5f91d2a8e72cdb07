"""A robot sends 50 times its rate, 200 connections dribble their handshakes, 1,000 say nothing.

In turns, so that a disturbance of the machine hits both: an honest group alone, and the same group besieged.
No honest message may be refused or lost, and their p99 may be no more than twice as long.
"""

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.pressure.besieger import FLOODED_MS, Order, besieging
from tests.pressure.crew import Crew, body_of, percentile_ms
from tests.pressure.findings import Findings, mib
from tests.pressure.site import Memory, Site

RATIO_MAX: Final = 2.0
GROWTH_MAX: Final = 48 * 1024 * 1024


class Siege(Struct, frozen=True):
    """The run; in full by default.

    Attributes:
        robot_frames_per_s: the server's setting; the flooder offers ``times`` as many.
        rate: honest messages a second.
    """

    robot_frames_per_s: int = 400
    times: int = 50
    dribblers: int = 200
    silent: int = 1_000
    rate: float = 200.0
    seconds: float = 48.0
    turns: int = 4

    def run(self, folder: Path) -> Findings:
        """Measure the honest group with and without the siege."""
        settings = {
            "IMSERVER_RATES_ROBOT_FRAMES_PER_S": str(self.robot_frames_per_s),
            "IMSERVER_RATES_BURST_S": "1",
        }
        calm, besieged = _Latencies(), _Latencies()
        seen: Counter[str] = Counter()
        with Site.open(folder, environment=settings) as site:
            order = self._order(site)
            with closing(Crew(site, group="honest", others=[])) as crew:
                self._speak(crew, _Latencies(), part=4)  # the store fills its cache
                with Memory(site.server) as memory:
                    for _ in range(self.turns):
                        self._speak(crew, calm)
                        with besieging(order) as said:
                            self._speak(crew, besieged)
                        seen += said
                problems = crew.problems
            tracebacks = site.server.tracebacks()
        return self._judge(calm, besieged, seen, memory, problems + tracebacks)

    def _judge(
        self,
        calm: "_Latencies",
        besieged: "_Latencies",
        seen: Counter[str],
        memory: Memory,
        problems: list[str],
    ) -> Findings:
        found = Findings(broken=problems)
        allowed = self.robot_frames_per_s * (seen[FLOODED_MS] / 1_000 + 10 * self.turns)
        found.expect(seen["sends taken"], "within its rate the flooder is served too")
        found.expect(seen["sends taken"] <= allowed, f"more than {allowed:.0f} sends were taken")
        found.expect(seen["told rate_limited"], "the flooder is told that it is too fast")
        found.show({name: f"{count:,}" for name, count in sorted(seen.items())})
        for what in ("acks", "deliveries"):
            pair = [getattr(each, what) for each in (calm, besieged)]
            for percent in (50, 99):
                name = f"p{percent} of {what}, calm and besieged"
                found.show({name: ", ".join(f"{percentile_ms(p, percent):.2f} ms" for p in pair)})
            ratio = percentile_ms(pair[1], 99) / percentile_ms(pair[0], 99)
            found.show({f"p99 of {what}, ratio": f"{ratio:.2f}"})
            found.aim(ratio <= RATIO_MAX, f"p99 of {what} is {ratio:.2f} times that of the calm")
        found.show({"memory grown": mib(memory.grown)})
        found.aim(memory.grown <= GROWTH_MAX, f"memory grew by {mib(memory.grown)}")
        return found

    def _order(self, site: Site) -> Order:
        line = site.line("flooder", auto=False)
        conv = site.group(line, "flooded")
        line.close()
        return Order(
            port=site.server.port,
            robot="flooder",
            token=site.server.token("flooder"),
            conv=conv,
            frames_per_s=self.robot_frames_per_s * self.times,
            dribblers=self.dribblers,
            silent=self.silent,
        )

    def _speak(self, crew: Crew, latencies: "_Latencies", *, part: int = 1) -> None:
        """Let the honest group talk, and note how long it took."""
        crew.run(seconds=self.seconds / self.turns / part, rate=self.rate, body=body_of(100))
        latencies.acks += crew.answers
        latencies.deliveries += crew.deliveries
        crew.answers, crew.deliveries = [], []


class _Latencies:
    """What was measured of one kind of turn, in seconds."""

    def __init__(self) -> None:
        self.acks: list[float] = []
        self.deliveries: list[float] = []
