"""``python -m`` for runs of chaos: one run, isolated where the machine allows it, and its report."""

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

from imserver import __version__
from tests.chaos.fault import S
from tests.chaos.isolation import ISOLATED, isolate
from tests.chaos.journal import Journal
from tests.chaos.plan import Plan
from tests.chaos.report import write_report
from tests.chaos.run import run
from tests.chaos.setting import Setting
from tests.chaos.summary import summarise

CANNOT = 2
_ROOT = Path(__file__).parents[2]
_MADE = ("data", "histories", "keys", "memories")


def main(setting: Setting[S]) -> int:
    """Run, write the report, and return 0 if the run was clean, 1 if it was not, 2 if there can be none."""
    plan = _plan(setting, _arguments(setting))
    isolate(setting.program)
    able = setting.abilities()
    missing = [reason for need in setting.needs if (reason := able[need]) is not None]
    if missing:
        print(f"{setting.program} cannot run here: {'; '.join(missing)}", file=sys.stderr)
        return CANNOT
    folder = Path(plan.folder)
    for name in ("histories", "keys", "memories"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / "journal.jsonl")
    print(
        f"chaos: seed {plan.seed} (repeat with --seed {plan.seed}), {plan.seconds:g} s", flush=True
    )
    try:
        outcome = asyncio.run(run(setting, plan, journal))
        summary = summarise(setting, outcome, journal, _environment(setting))
    finally:
        journal.close()
        if not plan.keep:
            for name in _MADE:
                shutil.rmtree(folder / name, ignore_errors=True)
    write_report(folder, summary)
    print(f"chaos: {summary.verdict}; {summary.acked:,} acked; report: {folder / 'report.html'}")
    return 0 if summary.clean else 1


def _arguments(setting: Setting[S]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {setting.program}", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1_200.0, help="how long faults come")
    parser.add_argument("--once", action="store_true", help="each of the faults once, in order")
    parser.add_argument("--slack", type=float, default=1.0, help="times as long all may take")
    parser.add_argument("--seed", default="", help="seed of everything that is drawn")
    parser.add_argument("--folder", default="", help="where files go; default build/…/SEED")
    parser.add_argument(
        "--faults", default="", help="names of faults, parted by commas; default all"
    )
    parser.add_argument("--robots", type=int, default=setting.robots)
    parser.add_argument("--groups", type=int, default=setting.groups)
    parser.add_argument(
        "--rate", type=float, default=setting.rate, help="sends a second of each robot"
    )
    parser.add_argument("--durability", default="full", help="of a single server: full or os")
    parser.add_argument(
        "--patience",
        type=float,
        default=60.0,
        help="seconds that robots get to settle and to drain",
    )
    parser.add_argument("--package", help="folder with another copy of imserver to run")
    parser.add_argument("--keep", action="store_true", help="keep histories and data")
    return parser.parse_args()


def _plan(setting: Setting[S], arguments: argparse.Namespace) -> Plan:
    known = {fault.name for fault in setting.faults}
    wanted = tuple(name.strip() for name in arguments.faults.split(",") if name.strip())
    unknown = set(wanted) - known
    if unknown:
        sys.exit(f"unknown faults {sorted(unknown)}; there are: {', '.join(sorted(known))}")
    seed = arguments.seed or secrets.token_hex(4)
    # Given to the isolated run too, which must draw the same.
    sys.argv += [] if arguments.seed else ["--seed", seed]
    runs = setting.title.lower().replace(" ", "-")
    folder = arguments.folder or str(_ROOT / "build" / runs / seed)
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


def _environment(setting: Setting[S]) -> dict[str, Any]:
    return {
        "imserver": f"{__version__} {_revision()}".strip(),
        "ended": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "Python": platform.python_version(),
        **setting.versions(),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "isolated": ISOLATED in os.environ,
        "command": " ".join([f"python -m {setting.program}", *sys.argv[1:]]),
    }


def _revision() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
