"""What a result was measured on. Without this beside it, a figure means nothing."""

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import apsw

_PROBE_WRITES: Final = 400
_PACKAGES: Final = ("imserver", "uvicorn", "uvloop", "httptools", "websockets", "msgspec", "apsw")


def describe(directory: Path) -> dict[str, str]:
    """Return the facts about this machine, the versions, and the disk under ``directory``."""
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        **{package: _version(package) for package in _PACKAGES},
        "kernel": platform.release(),
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "file system": _file_system(directory),
        "fdatasync": _fdatasync(directory),
    }


def _commit() -> str:
    root = Path(__file__).parent.parent
    try:
        commit = _git(root, "rev-parse", "--short", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "imserver")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + (" with changes" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    answer = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
    )
    return answer.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    answer = subprocess.run(
        [
            "findmnt",
            "--noheadings",
            "--output",
            "FSTYPE,SOURCE,OPTIONS",
            "--target",
            str(directory),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return " ".join(answer.stdout.split()) or "unknown"


def _fdatasync(directory: Path) -> str:
    path = directory / "fdatasync.probe"
    taken = []
    with path.open("wb", buffering=0) as file:
        for _ in range(_PROBE_WRITES):
            file.write(b"x" * 4_096)
            before = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - before)
    path.unlink()
    taken.sort()
    p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    return f"p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms"
