"""Hundreds of pipelined ``history`` requests whose answers nobody reads, on one connection and on many.

The answers are as large as pages are. The server must not make them in advance: it reads on only as its
answers are taken.
"""

from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from msgspec import Struct

from imserver.protocol.client_frames import History, Ping
from tests.pressure import wire
from tests.pressure.crew import body_of
from tests.pressure.findings import MIB, Findings, mib
from tests.pressure.site import Memory, Site, fill

GROWTH_MAX: Final = 64 * MIB
View: TypeAlias = Literal["events", "messages"]


class UnreadAnswers(Struct, frozen=True):
    """The run; in full by default.

    Attributes:
        greedy: connections that ask and never read, each ``requests`` times.
    """

    requests: int = 400
    greedy: int = 20
    events: int = 4_000
    body_bytes: int = 1_024

    def run(self, folder: Path) -> Findings:
        """Ask on one connection, then on many, and see that an honest robot is served meanwhile."""
        found = Findings()
        with Site.open(folder) as site:
            honest = site.line("honest", auto=False)
            conv = site.group(honest, "dock", "honest")
            fill(honest, conv, self.events, body_of(self.body_bytes))
            for view in get_args(View):
                for count in (1, self.greedy):
                    grown = self._ask(site, count, conv, view)
                    label = f"{count} × {self.requests} pages of {view}, memory grown"
                    found.show({label: mib(grown)})
                    found.aim(grown < GROWTH_MAX, f"{label} by {mib(grown)}")
        return found

    def _ask(self, site: Site, count: int, conv: str, view: View) -> int:
        lines = [
            site.line("honest", receive_buffer=1, device=f"d{n}", auto=False) for n in range(count)
        ]
        honest = site.line("honest", device="calm", auto=False)
        asked = [History(n, conv, after=0, limit=1_000, view=view) for n in range(self.requests)]
        with Memory(site.server) as memory:
            for line in lines:
                line.offer(wire.messages(*asked), patience_s=1.0)
            for _ in range(50):
                honest.tell(Ping(honest.next_id()))
                honest.read()
        for line in (*lines, honest):
            line.close()
        return memory.grown
