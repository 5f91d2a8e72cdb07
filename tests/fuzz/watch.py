"""What is watched while inputs are read: processor time for each, and the memory of the whole."""

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from tests.fuzz.given import Breach

SECONDS_MAX: Final = 20.0
"""Processor time that a hundred inputs may take: what takes that long hangs, however busy the machine is."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Hang(Breach):
    """An input took longer than any may."""


@contextmanager
def hangs_are_told() -> Iterator[None]:
    """Raise `Hang` in the main thread when the timer that `begin_input` sets runs out."""

    def tell(_number: int, _frame: FrameType | None) -> None:
        raise Hang(
            f"this and at most 99 before it took more than {SECONDS_MAX:g} s of processor time"
        )

    before = signal.signal(signal.SIGVTALRM, tell)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def begin_input() -> None:
    """Set the timer, for an input or a hundred."""
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_MAX)


def memory_bytes() -> int:
    """Return what this process holds in memory."""
    resident = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(resident) * _PAGE_BYTES


def processor_s() -> float:
    """Return the processor time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Stopwatch:
    """Finds the input that took longest."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._began = 0.0

    def start(self) -> None:
        """Begin an input."""
        self._began = time.process_time()

    def stop(self) -> None:
        """End an input."""
        took = time.process_time() - self._began
        if took > self.longest_s:
            self.longest_s = took
