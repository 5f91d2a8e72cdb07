"""The load generator's process: a program in Go (``bench/loadgen``), built where Go is, run for each task.

In Python it would need more than its core at the rates that are asked for: some 200,000 reads a second, each
of which the kernel makes dear enough. It uses nothing but Go's standard library.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from bench.peers.program import BUILT, ROOT
from bench.process import Place
from bench.task import Findings, Order, Task

SOURCE: Final = ROOT / "bench" / "loadgen"
PROGRAM: Final = BUILT / "loadgen"
_BUILD_S: Final = 300.0
_GRACE_S: Final = 240.0
_EVENTS_PER_S_LEAST: Final = 5_000
_ALWAYS_TOLD: Final = ("seconds", "warm_up", "window", "body_bytes", "groups", "senders")
"""What the generator has no defaults of its own for."""


def go() -> str | None:
    """Return the path of Go, where there is one."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")


def build() -> str:
    """Build the generator if it is older than its source; return what is in the way, or nothing."""
    if PROGRAM.exists() and all(_older(path) for path in SOURCE.glob("*.go")):
        return ""
    if go() is None:
        return "the load generator is not built, and there is no Go; make bench-setup installs it"
    BUILT.mkdir(parents=True, exist_ok=True)
    answer = subprocess.run(
        [str(go()), "build", "-o", str(PROGRAM), "."],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_S,
    )
    return f"the load generator does not build: {answer.stderr}" if answer.returncode else ""


def _older(path: Path) -> bool:
    return path.stat().st_mtime <= PROGRAM.stat().st_mtime


def generate(task: Task, order: Order, place: Place) -> Findings:
    """Have the load generator carry out a task; what goes wrong makes the findings void."""
    told = {**msgspec.to_builtins(task), **msgspec.to_builtins(order)}
    told |= {key: getattr(task, key) for key in _ALWAYS_TOLD}
    limit_s = _GRACE_S + task.seconds * max(len(task.steps), 1)
    limit_s += max(task.count, *task.steps, 0) / _EVENTS_PER_S_LEAST
    try:
        answer = subprocess.run(
            [str(PROGRAM)],
            input=msgspec.json.encode(told),
            env={**os.environ, "GODEBUG": "asyncpreemptoff=1"},  # no signals into system calls
            capture_output=True,
            timeout=limit_s,
            check=True,
            preexec_fn=place.take,
        )
    except subprocess.TimeoutExpired:
        return Findings(void=f"the load generator did not end within {limit_s:g} s")
    except subprocess.CalledProcessError as exc:
        return Findings(void=f"the load generator failed: {exc.stderr[-300:].decode()}")
    return msgspec.json.decode(answer.stdout, type=Findings)
