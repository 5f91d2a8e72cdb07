"""What the kernel says a process used: CPU time and memory. Read around the window, never sampled."""

import os
import time
from pathlib import Path
from typing import Final, NamedTuple

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_BUSY_FIELDS: Final = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq: proc_stat(5)
_STEAL_FIELD: Final = 7
_CALM_S: Final = 0.5


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_s(pid: int) -> float:
    """Return the CPU time, in seconds, that a process's threads and its descendants have used."""
    return sum(_cpu_ticks(member) for member in tree(pid)) / _TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Return the memory of a process and its descendants, shared pages counted by share (Pss)."""
    return sum(_pss_bytes(member) for member in tree(pid))


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime and stime: 14 and 15, counted from the pid


def _pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no Pss line")


class Reading(NamedTuple):
    """One look at the clocks."""

    at_s: float
    server_s: float
    generator_s: float
    machine_s: float
    steal_s: float


def read(server_pid: int) -> Reading:
    """Look at the clocks of the server, of this process (the generator) and of the machine."""
    fields = _machine_fields()
    return Reading(
        at_s=time.monotonic(),
        server_s=cpu_s(server_pid),
        generator_s=time.process_time(),
        machine_s=_machine_busy_s(),
        steal_s=fields[_STEAL_FIELD] / _TICKS_PER_S,
    )


def _machine_busy_s() -> float:
    fields = _machine_fields()
    return sum(fields[index] for index in _BUSY_FIELDS) / _TICKS_PER_S


def _machine_fields() -> list[int]:
    with Path("/proc/stat").open() as file:
        return [int(text) for text in file.readline().split()[1:]]


def wait_calm(share_max: float, *, patience_s: float) -> bool:
    """Wait until the machine uses less than a share of one core; return whether it did within patience."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        before_s, before_at = _machine_busy_s(), time.monotonic()
        time.sleep(_CALM_S)
        if _machine_busy_s() - before_s < share_max * (time.monotonic() - before_at):
            return True
    return False


class Usage(NamedTuple):
    """What was used between two readings, CPU as shares of one core."""

    seconds: float
    server_s: float
    server: float
    generator: float
    others: float
    steal: float


def between(before: Reading, after: Reading) -> Usage:
    """Return what was used from one reading to a later one."""
    seconds = after.at_s - before.at_s
    server_s = after.server_s - before.server_s
    generator_s = after.generator_s - before.generator_s
    others_s = after.machine_s - before.machine_s - server_s - generator_s
    return Usage(
        seconds=seconds,
        server_s=server_s,
        server=server_s / seconds,
        generator=generator_s / seconds,
        others=max(others_s, 0.0) / seconds,
        steal=(after.steal_s - before.steal_s) / seconds,
    )
