"""``python -m tests.chaos``: one run, isolated where the machine allows it, and its report.

As root the run gives itself namespaces of processes, mounts and network: whatever it mounts, starts or
drops is seen by itself alone, and is gone with it, also when it is killed.
"""

import argparse
import asyncio
import os
import platform
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import apsw

from imserver import __version__
from tests.chaos.faults import ALL_FAULTS
from tests.chaos.journal import Journal
from tests.chaos.report import write_report
from tests.chaos.run import Plan, run
from tests.chaos.summary import summarise
from tests.chaos.world import ISOLATED

_ROOT = Path(__file__).parents[2]
_NAMESPACES = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


def main() -> int:
    """Run, write the report, and return 0 if the run was clean, 1 if it was not."""
    plan = _plan(_arguments())
    _isolate()
    folder = Path(plan.folder)
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / "journal.jsonl")
    print(
        f"chaos: seed {plan.seed} (repeat with --seed {plan.seed}), {plan.seconds:g} s", flush=True
    )
    try:
        outcome = asyncio.run(run(plan, journal))
        summary = summarise(outcome, journal, _environment())
    finally:
        journal.close()
    write_report(folder, summary)
    print(f"chaos: {summary.verdict}; {summary.acked:,} acked; report: {folder / 'report.html'}")
    return 0 if summary.clean else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1_200.0, help="how long faults come")
    parser.add_argument("--once", action="store_true", help="each of the faults once, in order")
    parser.add_argument("--slack", type=float, default=1.0, help="times as long all may take")
    parser.add_argument("--seed", default="", help="seed of everything that is drawn")
    parser.add_argument("--folder", default="", help="where files go; default build/chaos/SEED")
    parser.add_argument(
        "--faults", default="", help="names of faults, parted by commas; default all"
    )
    parser.add_argument("--robots", type=int, default=24)
    parser.add_argument("--groups", type=int, default=12)
    parser.add_argument("--rate", type=float, default=100.0, help="sends a second of each robot")
    parser.add_argument("--durability", default="full", help="of the server: full or os")
    parser.add_argument(
        "--patience",
        type=float,
        default=60.0,
        help="seconds that robots get to settle and to drain",
    )
    parser.add_argument("--package", help="folder with another copy of imserver to run")
    parser.add_argument("--keep", action="store_true", help="keep histories and data")
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> Plan:
    known = {fault.name for fault in ALL_FAULTS}
    wanted = tuple(name.strip() for name in arguments.faults.split(",") if name.strip())
    unknown = set(wanted) - known
    if unknown:
        sys.exit(f"unknown faults {sorted(unknown)}; there are: {', '.join(sorted(known))}")
    seed = arguments.seed or secrets.token_hex(4)
    # Given to the isolated run too, which must draw the same.
    sys.argv += [] if arguments.seed else ["--seed", seed]
    folder = arguments.folder or str(_ROOT / "build" / "chaos" / seed)
    return Plan(
        seconds=arguments.seconds,
        seed=seed,
        folder=folder,
        faults=wanted,
        robots=arguments.robots,
        groups=arguments.groups,
        rate=arguments.rate,
        durability=arguments.durability,
        patience_s=arguments.patience,
        package=arguments.package,
        keep=arguments.keep,
        once=arguments.once,
        slack=arguments.slack,
    )


def _isolate() -> None:
    """Go on in namespaces of our own, if this machine lets us."""
    if ISOLATED in os.environ:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None or shutil.which("ip") is None:
        return
    tried = subprocess.run([unshare, *_NAMESPACES, "true"], capture_output=True, check=False)
    if tried.returncode == 0:
        command = [unshare, *_NAMESPACES, sys.executable, "-m", "tests.chaos", *sys.argv[1:]]
        os.execve(unshare, command, {**os.environ, ISOLATED: "1"})


def _environment() -> dict[str, Any]:
    return {
        "imserver": f"{__version__} {_revision()}".strip(),
        "ended": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "Python": platform.python_version(),
        "SQLite": apsw.sqlite_lib_version(),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "isolated": ISOLATED in os.environ,
        "command": " ".join(["python -m tests.chaos", *sys.argv[1:]]),
    }


def _revision() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
