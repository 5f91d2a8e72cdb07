"""What a process does with its time, where processors are few, and the machine stands still now and then."""

import contextlib
import resource
from pathlib import Path
from typing import NamedTuple


class Used(NamedTuple):
    """What a thread has used so far.

    Attributes:
        computed_s: processor time.
        sleeps: how often it waited for something.
        faults: how often it waited for a page of memory from the disk.
    """

    computed_s: float
    sleeps: int
    faults: int

    def until(self, later: "Used") -> "Used":
        """Return what was used since."""
        return Used(
            later.computed_s - self.computed_s,
            later.sleeps - self.sleeps,
            later.faults - self.faults,
        )

    @property
    def has_slept_by_itself(self) -> bool:
        """Whether the thread waited, and the machine did not make it.

        A machine that stands still as a whole makes nobody wait: only the clock has gone on.
        """
        return bool(self.sleeps) and not self.faults


def used_by_this_thread() -> Used:
    """Return what the calling thread has used so far."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_nvcsw, usage.ru_majflt)


def waited_s(pid: int, *, only_main: bool = False) -> float:
    """Return how long the threads of a process, all together, were ready to run and had no processor.

    ``only_main``: no thread but the one that the process began with.
    """
    waited_ns = 0
    for file in Path(f"/proc/{pid}/task").glob(f"{pid if only_main else '*'}/schedstat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            waited_ns += int(file.read_text().split()[1])
    return waited_ns / 1e9
