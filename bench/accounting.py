"""How busy the machine is with others. What a server used, the load generator reads at the window's edges."""

import os
import time
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_BUSY_FIELDS: Final = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq: proc_stat(5)
_LOOK_S: Final = 0.25


def _machine_busy_s() -> float:
    with Path("/proc/stat").open() as file:
        fields = [int(text) for text in file.readline().split()[1:]]
    return sum(fields[index] for index in _BUSY_FIELDS) / _TICKS_PER_S


def wait_calm(share_max: float, *, patience_s: float) -> bool:
    """Wait until the machine uses less than a share of one core; return whether it did within patience."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        before_s, before_at = _machine_busy_s(), time.monotonic()
        time.sleep(_LOOK_S)
        if _machine_busy_s() - before_s < share_max * (time.monotonic() - before_at):
            return True
    return False
