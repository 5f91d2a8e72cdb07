"""What the robots of the demo make of their conversation: jobs, who claimed them first, how far they are.

Pure: events go in, in log order. Every robot keeps a board of its own and all boards agree, because the log
has one order for everybody: of several claims to a job the first in the log has won, and nobody needs to ask.
"""

from collections.abc import Iterator
from typing import Any, Final, Protocol

from msgspec import Struct

JOB: Final = "job"
CLAIM: Final = "claim"
PROGRESS: Final = "progress"
DONE: Final = "done"
JOBS_KEPT_MAX: Final = 1_000


class LogEntry(Protocol):
    """What the board looks at in an event; the SDK's ``Event`` has it."""

    @property
    def seq(self) -> int: ...
    @property
    def sender(self) -> str: ...
    @property
    def cid(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def ref(self) -> int | None: ...
    @property
    def body(self) -> Any: ...


class Job(Struct):
    """A job as the log tells it; ``seq`` is its event, by which the others refer to it."""

    seq: int
    title: str
    worker: str | None = None
    percent: int = 0
    done: bool = False


class Board:
    """The jobs that were posted since the reader began to read; the oldest beyond a bound are forgotten."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self.done = 0

    def apply(self, event: LogEntry) -> Job | None:
        """Take in an event and return the job it concerns, if it concerns one that is known."""
        if event.kind == JOB:
            return self._post(Job(event.seq, _title(event.body)))
        job = self._jobs.get(event.ref) if event.ref is not None else None
        if job is None:
            return None
        if event.kind == CLAIM:
            job.worker = job.worker or event.sender
        elif event.sender == job.worker and event.kind == PROGRESS:
            job.percent = _percent(event.body)
        elif event.sender == job.worker and event.kind == DONE and not job.done:
            job.done = True
            job.percent = 100
            self.done += 1
        return job

    def open_jobs(self) -> Iterator[Job]:
        """Yield the jobs that nobody has claimed, the oldest first."""
        return (job for job in self._jobs.values() if job.worker is None)

    def has_open_jobs(self) -> bool:
        """Tell whether there is a job that nobody has claimed."""
        return any(True for _ in self.open_jobs())

    def unfinished_of(self, worker: str) -> Job | None:
        """Return the oldest job that ``worker`` has won and not finished, or None."""
        mine = (job for job in self._jobs.values() if job.worker == worker and not job.done)
        return next(mine, None)

    def _post(self, job: Job) -> Job:
        self._jobs[job.seq] = job
        if len(self._jobs) > JOBS_KEPT_MAX:
            del self._jobs[next(iter(self._jobs))]
        return job


def _title(body: Any) -> str:
    title = body.get("title") if isinstance(body, dict) else None
    return str(title)[:60] if title else "a job"


def _percent(body: Any) -> int:
    percent = body.get("percent") if isinstance(body, dict) else None
    return min(max(percent, 0), 100) if isinstance(percent, int) else 0
