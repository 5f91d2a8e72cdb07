"""``python -m tests.chaos.cluster.mutants``: broken copies of the server, which a run must find out.

Each has some lines that must never be written. The unique indexes and the majority carry so much that it
takes two of them for some: one line alone is caught by the next.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.chaos.mutants import ROOT, Change, broken_copy

TRIES = 4
_APPEND = "imserver/data/mongo/append.py"
_DATABASE = "imserver/data/mongo/database.py"
_LOGS = "imserver/data/mongo/known_logs.py"


class Mutant(NamedTuple):
    """A broken copy.

    Attributes:
        says: what it does.
        changes: its lines.
        faults: those that show it, in one of `TRIES` runs.
        shows: where the report counts what must not be, or a guarantee of `imserver.verify`.
    """

    says: str
    changes: tuple[Change, ...]
    faults: str
    shows: str


MUTANTS = (
    Mutant(
        "acks when the primary alone has it",
        (
            Change(_DATABASE, "writeConcern=_MAJORITY.document", 'writeConcern={"w": 1}'),
            Change(_LOGS, "        if not stored:\n", "        if True:\n"),
        ),
        "primary alone,primary alone,primary alone",
        "lost",
    ),
    Mutant(
        "lets senders through that were removed on another node",
        (
            Change(
                "imserver/data/mongo/plan.py",
                "asked.known < draft.changed and is_group(asked.conv)",
                "False",
            ),
        ),
        "node and redis,node and redis,kill redis,kill redis",
        "G13",
    ),
    Mutant(
        "does not find out what may be stored",
        (
            Change(
                _DATABASE,
                '("sender", 1), ("cid", 1)], name="cid", unique=True)',
                '("sender", 1), ("cid", 1)], name="cid")',
            ),
            Change(
                _APPEND,
                "        batch.stored = {}\n",
                "        batch.stored = None\n",
            ),
        ),
        "unconfirmed writes,unconfirmed writes",
        "unresolved",
    ),
)


def is_found_out(mutant: Mutant, folder: Path) -> bool:
    """Run chaos on a mutant, several times if need be; return whether it was found out. Takes minutes."""
    package = broken_copy(folder / "broken", mutant.changes)
    for seed in range(TRIES):
        place = folder / str(seed)
        command = [sys.executable, "-m", "tests.chaos.cluster", "--once", "--faults", mutant.faults]
        command += ["--seed", str(seed), "--folder", str(place), "--package", str(package)]
        done = subprocess.run(
            [*command, "--slack", "3"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if not (place / "report.json").exists():
            raise ChildProcessError(f"the run broke off: {done.stderr[-2_000:]}")
        report = json.loads((place / "report.json").read_text())
        broken = {row["name"]: row["violations"] for row in report["guarantees"]}
        if report.get(mutant.shows) or broken.get(mutant.shows):
            return True
    return False


def main() -> int:
    """Try each mutant; return 0 if all were found out."""
    missed = 0
    for mutant in MUTANTS:
        with tempfile.TemporaryDirectory() as folder:
            found = is_found_out(mutant, Path(folder))
        missed += not found
        print(f"{'found out' if found else 'MISSED'}: {mutant.says} ({mutant.shows})", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
