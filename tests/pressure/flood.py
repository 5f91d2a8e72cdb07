"""Two robots flood the store over many connections, beside honest members of another group.

In turns, so that a disturbance of the machine hits both: an honest group alone, and the same group beside the
flood. No honest send may be refused; what an honest send waits for is a commit or two of what others sent.
"""

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.pressure.crew import Crew, body_of, percentile_ms
from tests.pressure.findings import Findings, mib
from tests.pressure.flooder import Order, flooding
from tests.pressure.site import Memory, Site, names

ACK_P99_MAX_MS: Final = 1_000.0


class Flood(Struct, frozen=True):
    """The run; in full by default.

    Attributes:
        rate: honest messages a second.
        pending_bytes_max: the server's setting.
    """

    flooders: int = 2
    connections: int = 50
    in_flight: int = 8
    body_bytes: int = 255 * 1024
    rate: float = 100.0
    seconds: float = 20.0
    turns: int = 2
    waits: bool = True
    pending_bytes_max: int = 64 * 1024 * 1024

    def run(self, folder: Path) -> Findings:
        """Measure the honest group with and without the flood."""
        settings = {"IMSERVER_DELIVERY_PENDING_BYTES_MAX": str(self.pending_bytes_max)}
        calm, flooded, answers = list[float](), list[float](), Counter[str]()
        with Site.open(folder, environment=settings) as site:
            orders = [self._order(site, name) for name in names("flooder", self.flooders)]
            with closing(Crew(site, group="honest", listeners=2, others=[])) as crew:
                with Memory(site.server) as memory:
                    for _ in range(self.turns):
                        calm += self._speak(crew)
                        with flooding(*orders) as said:
                            flooded += self._speak(crew)
                        answers += said
                problems = crew.problems
        found = Findings(broken=problems)
        found.show(
            {
                "flooders × connections": f"{self.flooders} × {self.connections}",
                "each with": f"{self.in_flight} × {mib(self.body_bytes)} under way",
                "answers to the flooders": f"{dict(answers)}",
                "honest sends refused": f"{len(problems)} of {len(calm + flooded) + len(problems):,}",
                "p50 to the ack, without and with": _pair(calm, flooded, 50),
                "p99 to the ack, without and with": _pair(calm, flooded, 99),
                "memory grown": mib(memory.grown),
            }
        )
        p99_ms = percentile_ms(flooded, 99)
        found.aim(p99_ms < ACK_P99_MAX_MS, f"beside the flood p99 to the ack is {p99_ms:.0f} ms")
        return found

    def _order(self, site: Site, robot: str) -> Order:
        line = site.line(robot, auto=False)
        conv = site.group(line, robot)
        line.close()
        return Order(
            port=site.server.port,
            robot=robot,
            token=site.server.token(robot),
            conv=conv,
            connections=self.connections,
            in_flight=self.in_flight,
            body_bytes=self.body_bytes,
            waits=self.waits,
        )

    def _speak(self, crew: Crew) -> list[float]:
        """Let the honest group talk; return how long its acks took."""
        crew.run(seconds=self.seconds / self.turns, rate=self.rate, body=body_of(100))
        answers, crew.answers = crew.answers, []
        return answers


def _pair(calm: list[float], flooded: list[float], percent: float) -> str:
    return ", ".join(f"{percentile_ms(each, percent):.1f} ms" for each in (calm, flooded))
