"""How long a process waits for a processor, on a machine that has too few of them."""

import contextlib
from pathlib import Path


def waited_s(pid: int, *, only_main: bool = False) -> float:
    """Return how long the threads of a process, all together, were ready to run and had no processor.

    ``only_main``: no thread but the one that the process began with.
    """
    waited_ns = 0
    for file in Path(f"/proc/{pid}/task").glob(f"{pid if only_main else '*'}/schedstat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            waited_ns += int(file.read_text().split()[1])
    return waited_ns / 1e9
