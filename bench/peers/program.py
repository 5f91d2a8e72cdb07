"""Where the peers' programs are, and what version they say they are."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
BUILT: Final = ROOT / "build" / "bench"
"""Where ``tools/set_up_bench.sh`` puts what it builds."""
_VERSION: Final = re.compile(r"\d+\.\d+[\w.+-]*")


def find(name: str) -> str | None:
    """Return the path of a program: built by the set-up, or installed."""
    built = BUILT / name
    if built.exists():
        return str(built)
    return shutil.which(
        name, path="/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/usr/lib/rabbitmq/bin"
    )


def path_of(name: str) -> str:
    """Return the path of a program that is there.

    Raises:
        FileNotFoundError: it is not.
    """
    path = find(name)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed")
    return path


def missing(name: str) -> str | None:
    """Return what to say about a program that is not there."""
    return None if find(name) else f"{name} is not installed (make bench-setup installs it)"


def version(name: str, *arguments: str) -> str:
    """Return the first version number that a program prints."""
    answer = subprocess.run(
        [path_of(name), *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    found = _VERSION.search(answer.stdout + answer.stderr)
    return found.group() if found else "unknown"
