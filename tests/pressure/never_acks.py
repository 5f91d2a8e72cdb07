"""Members that read everything and never ack: each gets its window and not one event more.

One window is small and one is as large as the server allows. When they ack at last they get what they
missed, in order; nothing was kept for them but the log.
"""

from pathlib import Path
from typing import Final

from msgspec import Struct

from imserver.protocol.client_frames import Ack, Ping
from imserver.protocol.server_frames import Deliver, Pong
from tests.pressure.crew import body_of
from tests.pressure.findings import MIB, Findings, mib
from tests.pressure.line import Line
from tests.pressure.site import Memory, Site, fill

GROWTH_MAX: Final = 96 * MIB
"""The store's cache and the tails take some 50 MiB of it, whoever reads."""


class NeverAcks(Struct, frozen=True):
    """The run; in full by default."""

    windows: tuple[int, ...] = (1, 1_024, 65_536)
    events: int = 100_000
    body_bytes: int = 1_024

    def run(self, folder: Path) -> Findings:
        """Send beside readers that never ack, then let them ack."""
        found = Findings()
        with Site.open(folder) as site:
            readers = {n: site.line(f"reader{n}", window=n) for n in self.windows}
            owner = site.line("owner", auto=False)
            conv = site.group(owner, "dock", *(f"reader{n}" for n in self.windows))
            got = {window: [0] for window in self.windows}
            with Memory(site.server) as memory:
                sent, step = 1, max(self.events // 200, 1)
                while sent < self.events:
                    sent = fill(
                        owner, conv, min(step, self.events - sent), body_of(self.body_bytes)
                    )
                    for window, line in readers.items():
                        _take_in(line, got[window])
            for window, seqs in got.items():
                wanted = min(window, sent)
                found.expect(
                    seqs[-1] == wanted,
                    f"with a window of {window:,} a reader got {seqs[-1]:,} events before its first ack",
                )
            for window, line in readers.items():
                found.expect(
                    _ack_to(line, conv, got[window], sent),
                    f"after its acks the reader with the window {window:,} did not get every event",
                )
            found.show(
                {
                    "events": f"{sent:,}, to readers with windows of {self.windows}",
                    "memory grown": mib(memory.grown),
                }
            )
            found.aim(memory.grown < GROWTH_MAX, f"memory grew by {mib(memory.grown)}")
        return found


def _take_in(line: Line, seqs: list[int]) -> None:
    """Take in what was written to a line by now; keep the last seq in ``seqs``, or 0 after a gap."""
    line.tell(Ping(line.next_id()))
    while not isinstance(frame := line.read(), Pong):
        if isinstance(frame, Deliver):
            _follow(frame, seqs)


def _follow(frame: Deliver, seqs: list[int]) -> None:
    for event in frame.events:
        assert event.seq == seqs[-1] + 1, f"{event.seq} was delivered after {seqs[-1]}"
        seqs[-1] = event.seq


def _ack_to(line: Line, conv: str, seqs: list[int], head: int) -> bool:
    """Ack what was received, a thousand events at a time or what there is, until ``head`` is reached."""
    end = min(head, seqs[-1] + 3_000)  # enough to see that it goes on
    while seqs[-1] < end:
        line.tell(Ack(conv, seqs[-1]))
        _follow(line.events(), seqs)
    return seqs[-1] >= end
