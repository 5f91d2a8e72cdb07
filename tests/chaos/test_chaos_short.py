"""Short runs of chaos: faults that every machine can do, others where it can, and servers that must be
found out."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.mutants import ACK_BEFORE_COMMIT, FSYNC_RETRIED, broken_copy

ROOT = Path(__file__).parents[2]
RUN_LIMIT_S = 600
SLACK = 20
TRIES = 4
FOUND = 1
HASTY = {"slack": "0.4", "patience": "12"}
"""A server that is wrong need not be waited for as long as one that is right."""

pytestmark = [pytest.mark.process, pytest.mark.timeout(TRIES * RUN_LIMIT_S)]

needs_a_disk = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists(),
    reason="power cuts need root and loop devices",
)
needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="failing system calls need strace"
)


def chaos(folder: Path, seed: int, *, faults: str, **more: str) -> Any:
    """Do a run that finds nothing in a process of its own, and return what its ``report.json`` says.

    It goes by faults and has a lot of slack: what is judged is the server, and not the machine's speed.
    """
    status, words = run(folder, seed, faults=faults, slack=str(SLACK), **more)
    assert status == 0, words
    report = report_in(folder)
    assert report["clean"] is True, words
    return report


def assert_found_out(
    folder: Path, first: int, shows: Callable[[Any], bool], *, faults: str, **more: str
) -> None:
    """Do runs of a server that is wrong until a report shows it: what a fault hits only by chance gets
    several chances, and what a slow machine adds to the findings shows nothing."""
    for seed in range(first, first + TRIES):
        place = folder / f"seed-{seed}"
        status, words = run(place, seed, faults=faults, **HASTY, **more)
        if status == FOUND and shows(report_in(place)):
            return
    raise AssertionError(f"{TRIES} runs did not show it; the last one: {words}")


def run(folder: Path, seed: int, *, faults: str, **more: str) -> tuple[int, str]:
    """Do a run; return its status, and what it said in the end."""
    command = [sys.executable, "-m", "tests.chaos", "--folder", str(folder)]
    command += ["--seed", str(seed), "--faults", faults, "--once", "--rate", "20"]
    command += [word for name, value in more.items() for word in (f"--{name}", value)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False
    )
    return done.returncode, done.stdout[-4_000:] + done.stderr[-4_000:]


def report_in(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def assert_nothing_is_missing(report: Any) -> None:
    wrong = ("lost", "doubled", "reordered", "gaps", "undelivered", "unresolved")
    assert {name: report[name] for name in wrong} == dict.fromkeys(wrong, 0)


def count_of(report: Any, name: str) -> int:
    return sum(row["count"] for row in report["faults"] if row["name"] == name)


def test_kills_decay_and_a_spoilt_network_lose_and_double_nothing(tmp_path, seed):
    faults = "kill,reset all,flipped bit,cut at a byte,log cut short,half close,kill client,drain"
    report = chaos(tmp_path, seed, faults=faults)
    assert_nothing_is_missing(report)
    assert all(count_of(report, fault) == 1 for fault in faults.split(","))
    assert report["acked"] > 0
    page = (tmp_path / "report.html").read_text()
    assert str(seed) in page
    assert "Chaos: clean" in page


@needs_a_disk
def test_power_cuts_take_nothing_that_was_acked(tmp_path, seed):
    report = chaos(tmp_path, seed, faults="power cut,power cut,file system breaks")
    assert_nothing_is_missing(report)
    assert report["harm"]["power cuts"] == 2


@needs_strace
def test_a_server_whose_fsync_fails_ends_and_acks_nothing_more(tmp_path, seed):
    report = chaos(tmp_path, seed, faults="fsync fails")
    assert_nothing_is_missing(report)
    assert count_of(report, "fsync fails") == 1


@needs_a_disk
def test_acks_before_the_disk_has_it_are_found_out_by_a_power_cut(tmp_path, seed):
    assert_found_out(tmp_path, seed, loses, faults="power cut", durability="os")


def test_acks_before_the_commit_are_found_out_by_a_kill(tmp_path, seed):
    package = str(broken_copy(tmp_path / "broken", ACK_BEFORE_COMMIT))
    assert_found_out(tmp_path, seed, loses, faults="kill,kill", package=package)


@needs_strace
def test_a_retried_fsync_is_found_out_by_one_that_fails(tmp_path, seed):
    package = str(broken_copy(tmp_path / "broken", FSYNC_RETRIED))
    assert_found_out(tmp_path, seed, still_runs, faults="fsync fails", package=package)


def loses(report: Any) -> bool:
    return bool(report["lost"])


def still_runs(report: Any) -> bool:
    return any("still runs" in finding for finding in report["findings"])


def test_a_fault_that_this_machine_cannot_do_is_named(tmp_path, seed, monkeypatch):
    monkeypatch.setenv("PATH", "")  # as if nothing were installed
    report = chaos(tmp_path, seed, faults="fsync fails,kill")
    row = next(row for row in report["faults"] if row["name"] == "fsync fails")
    assert "strace is not installed" in row["skipped"]
    assert "SKIPPED" in (tmp_path / "report.md").read_text()
