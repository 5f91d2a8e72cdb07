"""A robot comes back to a million events: how fast it gets them, and what that costs the server."""

import time
from pathlib import Path
from typing import Final

from msgspec import Struct

from imserver.protocol.client_frames import Ack, Follow
from tests.pressure.crew import body_of
from tests.pressure.findings import MIB, Findings, mib
from tests.pressure.line import Line
from tests.pressure.site import Memory, Site, fill

GROWTH_MAX: Final = 64 * MIB


class LongBacklog(Struct, frozen=True):
    """The run; in full by default."""

    events: int = 1_000_000
    body_bytes: int = 100
    windows: tuple[int, ...] = (1_024, 65_536)

    def run(self, folder: Path) -> Findings:
        """Store the events while the reader is away, then let it come back once for each window."""
        found = Findings()
        with Site.open(folder) as site:
            site.line("reader").close()
            owner = site.line("owner", auto=False)
            conv = site.group(owner, "dock", "reader")
            began = time.monotonic()
            head = fill(owner, conv, self.events - 1, body_of(self.body_bytes))
            found.show({"stored": f"{head:,} events in {time.monotonic() - began:.1f} s"})
            for window in self.windows:
                reader = site.line("reader", device=f"w{window}", window=window, auto=False)
                with Memory(site.server) as memory:
                    began = time.monotonic()
                    seq = _read_to(reader, conv, head, window)
                    took = time.monotonic() - began
                found.expect(seq == head, f"the reader got {seq:,} of {head:,} events")
                found.show(
                    {
                        f"read with a window of {window:,}": f"{head / took:,.0f} events/s",
                        f"memory grown, window {window:,}": mib(memory.grown),
                    }
                )
                found.aim(memory.grown < GROWTH_MAX, f"memory grew by {mib(memory.grown)}")
                reader.close()
        return found


def _read_to(line: Line, conv: str, head: int, window: int) -> int:
    line.tell(Follow(line.next_id(), conv, 0))
    seq = acked = 0
    while seq < head:
        for event in line.events().events:
            assert event.seq == seq + 1, f"{event.seq} was delivered after {seq}"
            seq = event.seq
        if seq - acked >= window // 4:
            line.tell(Ack(conv, seq))
            acked = seq
    return seq
