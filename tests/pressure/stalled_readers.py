"""A thousand members of a busy group connect and stop reading: who goes on reading must not notice.

Their receive buffers are as small as the system allows, so that what is not read stays with the server. The
same load runs on a second server whose members are all honest, in turns, so that a disturbance of the machine
hits both. Pings are put off: nobody is closed for being silent, which would be the easy way out.
"""

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.pressure.crew import Crew, body_of, percentile_ms
from tests.pressure.findings import MIB, Findings, mib
from tests.pressure.site import Memory, Site, names

GROWTH_MAX: Final = 64 * MIB
SLOWER_MAX: Final = 2.0
WAITING_MAX: Final = 128 * 1024
"""What the system may hold for one client; left to itself it would be megabytes."""

_PATIENT: Final = {"IMSERVER_SERVER_PING_INTERVAL_S": "3600"}


class StalledReaders(Struct, frozen=True):
    """The run; in full by default.

    Attributes:
        rate: messages a second.
        turns: into how many parts the ``seconds`` are cut.
    """

    readers: int = 1_000
    rate: float = 1_000.0
    body_bytes: int = 1_024
    seconds: float = 60.0
    turns: int = 4

    def run(self, folder: Path) -> Findings:
        """Run both servers in turn."""
        with ExitStack() as stack:
            calm = stack.enter_context(Site.open(folder, "calm", environment=_PATIENT))
            busy = stack.enter_context(Site.open(folder, "busy", environment=_PATIENT))
            stalled = names("stalled", self.readers)
            for name in stalled:
                busy.line(name, receive_buffer=1)
            calm_crew = stack.enter_context(closing(Crew(calm, group="dock", others=[])))
            busy_crew = stack.enter_context(closing(Crew(busy, group="dock", others=stalled)))
            calm_memory = stack.enter_context(Memory(calm.server))
            busy_memory = stack.enter_context(Memory(busy.server))
            part_s, body = self.seconds / self.turns, body_of(self.body_bytes)
            for _ in range(self.turns):
                for crew in (calm_crew, busy_crew):
                    crew.run(seconds=part_s, rate=self.rate, body=body)
            waiting = max(busy.waiting_bytes())
            found = self._judge(calm_crew, busy_crew, calm_memory, busy_memory)
        found.show({"most that waits in the system for a client": f"{waiting / 1024:.0f} KiB"})
        found.expect(waiting < WAITING_MAX, f"{waiting:,} bytes wait in the system for a client")
        return found

    def _judge(self, calm: Crew, busy: Crew, calm_memory: Memory, busy_memory: Memory) -> Findings:
        found = Findings()
        for problem in calm.problems + busy.problems:
            found.expect(None, problem)
        p99 = [percentile_ms(crew.deliveries, 99) for crew in (calm, busy)]
        found.show(
            {
                "messages": f"{busy.head - 1:,} to {self.readers:,} who do not read and 5 who do",
                "p50 to the honest, without and with": _pair(calm, busy, 50),
                "p99 to the honest, without and with": _pair(calm, busy, 99),
                "p99.9 to the honest, without and with": _pair(calm, busy, 99.9),
                "server's memory before": mib(busy_memory.before),
                "grown, without and with": f"{mib(calm_memory.grown)}, {mib(busy_memory.grown)}",
            }
        )
        found.aim(busy_memory.grown < GROWTH_MAX, f"memory grew by {mib(busy_memory.grown)}")
        found.aim(p99[1] < SLOWER_MAX * p99[0], f"p99 is {p99[1] / p99[0]:.1f} times as long")
        return found


def _pair(calm: Crew, busy: Crew, percent: float) -> str:
    return ", ".join(f"{percentile_ms(crew.deliveries, percent):.1f} ms" for crew in (calm, busy))
