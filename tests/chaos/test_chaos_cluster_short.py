"""A short run of chaos in a cluster: faults that are over soon, on machines where namespaces can be made."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.cluster.mutants import MUTANTS
from tests.chaos.cluster.setting import CLUSTER, why_not
from tests.chaos.command import CANNOT as CANNOT_RUN

ROOT = Path(__file__).parents[2]
RUN_LIMIT_S = 600
SLACK = "20"
FAULTS = "unconfirmed writes,cut subscribers,step-down"

pytestmark = [pytest.mark.process, pytest.mark.timeout(RUN_LIMIT_S + 20)]

CANNOT = why_not()


@pytest.mark.skipif(CANNOT is not None, reason=f"no cluster of namespaces: {CANNOT}")
def test_lost_answers_and_hints_and_a_new_primary_lose_and_double_nothing(
    tmp_path: Path, seed: int
) -> None:
    command = [sys.executable, "-m", CLUSTER.program, "--once", "--faults", FAULTS]
    command += ["--seed", str(seed), "--folder", str(tmp_path), "--slack", SLACK]
    done = subprocess.run(
        [*command, "--robots", "6", "--groups", "3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    words = done.stdout[-4_000:] + done.stderr[-4_000:]
    assert done.returncode == 0, words
    report = json.loads((tmp_path / "report.json").read_text())
    wrong = ("lost", "doubled", "reordered", "gaps", "undelivered", "unresolved")
    assert {name: report[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert {row["name"] for row in report["faults"] if row["count"]} == set(FAULTS.split(","))
    assert report["acked"] > 0
    assert "Cluster chaos: clean" in (tmp_path / "report.html").read_text()


def test_each_broken_copy_of_the_server_can_be_made() -> None:
    for mutant in MUTANTS:
        for change in mutant.changes:
            text = (ROOT / change.file).read_text(encoding="utf-8")
            assert text.count(change.old) == 1, (mutant.says, change)


def test_where_no_namespaces_can_be_made_a_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # as if nothing were installed
    command = [sys.executable, "-m", CLUSTER.program, "--folder", str(tmp_path / "run")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == CANNOT_RUN
    assert "cannot run here: " in done.stderr
