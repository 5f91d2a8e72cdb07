"""What the demo has to show: the conversation in words, who is online, how fast it goes. No I/O.

The fleet tells the scene what happens; a view shows it.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from imserver.cli.demo.board import CLAIM, DONE, JOB, PROGRESS, Board, Job, LogEntry
from imserver.cli.demo.latencies import Latencies
from imserver.cli.text import body_text, printable

LINES_MAX: Final = 200
SENDS_OPEN_MAX: Final = 10_000


class Scene:
    """The state of the demo, as the dispatcher sees it.

    Attributes:
        acks: from a send to its ack: the event is durable.
        deliveries: from a send to its arrival at the dispatcher, another member of the group.
        on_line: told every line as it comes.
    """

    def __init__(self, conv: str, on_line: Callable[[str], None]) -> None:
        self.conv = conv
        self.board = Board()
        self.lines: deque[str] = deque(maxlen=LINES_MAX)
        self.online: dict[str, bool] = {}
        self.acks = Latencies()
        self.deliveries = Latencies()
        self.events = 0
        self._on_line = on_line
        self._sends: dict[str, float] = {}

    def note(self, text: str) -> None:
        """Show a remark of the demo's own."""
        self._line(f"       -- {text}")

    def sending(self, cid: str, now_s: float) -> None:
        """Note that a robot began to send."""
        self._sends[cid] = now_s
        if len(self._sends) > SENDS_OPEN_MAX:
            del self._sends[next(iter(self._sends))]

    def acked(self, cid: str, now_s: float) -> None:
        """Note that a send is durable."""
        if cid in self._sends:
            self.acks.add(now_s - self._sends[cid])

    def arrived(self, event: LogEntry, now_s: float) -> None:
        """Show an event that arrived at the dispatcher."""
        sent_s = self._sends.pop(event.cid, None)
        if sent_s is not None:
            self.deliveries.add(now_s - sent_s)
        self.events += 1
        job = self.board.apply(event)
        self._line(f"{event.seq:>6} {event.sender:<12} {told(event, job)}")

    def figures(self) -> str:
        """Return the numbers on one line."""
        return (
            f"{self.events} events, {self.board.done} jobs done; "
            f"acked: {self.acks}; delivered: {self.deliveries}"
        )

    def _line(self, text: str) -> None:
        self.lines.append(text)
        self._on_line(text)


def told(event: LogEntry, job: Job | None) -> str:
    """Return an event in words; ``job`` is the one it concerns, as it is after the event."""
    if job is None:
        return f"{printable(event.kind)} {body_text(event.body)}"
    match event.kind:
        case kind if kind == JOB:
            return f"posts job {job.seq}: {printable(job.title)}"
        case kind if kind == CLAIM and job.worker == event.sender:
            return f"claims job {job.seq} and is the first"
        case kind if kind == CLAIM:
            return f"claims job {job.seq}, too late: {job.worker} was first"
        case kind if kind == PROGRESS:
            return f"job {job.seq} is {job.percent} % done"
        case kind if kind == DONE:
            return f"finishes job {job.seq}"
    return f"{printable(event.kind)} about job {job.seq}: {body_text(event.body)}"
