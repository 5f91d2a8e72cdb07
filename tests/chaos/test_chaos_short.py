"""Short runs of chaos: kills and a spoilt network everywhere, and power cuts where this machine can do
them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SEED

ROOT = Path(__file__).parents[2]
RUN_LIMIT_S = 100

pytestmark = [pytest.mark.process, pytest.mark.timeout(RUN_LIMIT_S + 20)]


def chaos(folder: Path, *, seconds: float, faults: str, expect: int = 0, **more: str) -> Any:
    """Do a run in a process of its own and return what its ``report.json`` says."""
    command = [sys.executable, "-m", "tests.chaos", "--folder", str(folder), "--seed", str(SEED)]
    command += ["--seconds", str(seconds), "--faults", faults]
    command += [word for name, value in more.items() for word in (f"--{name}", value)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False
    )
    assert done.returncode == expect, done.stdout[-4_000:] + done.stderr[-4_000:]
    return json.loads((folder / "report.json").read_text())


def test_kills_and_a_spoilt_network_lose_and_double_nothing(tmp_path):
    report = chaos(tmp_path, seconds=10, faults="kill,reset all,cut at a byte,half close")
    assert report["kills"] >= 2
    assert report["acked"] > 500
    assert (report["lost"], report["doubled"], report["reordered"], report["gaps"]) == (0, 0, 0, 0)
    assert report["recovery_worst_s"] < 5
    page = (tmp_path / "report.html").read_text()
    assert str(SEED) in page
    assert "clean" in page


needs_a_disk = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists(),
    reason="power cuts need root and loop devices",
)


@needs_a_disk
def test_power_cuts_take_nothing_that_was_acked(tmp_path):
    report = chaos(tmp_path, seconds=6, faults="power cut")
    assert report["power_cuts"] >= 2
    assert report["lost"] == 0


@needs_a_disk
def test_a_server_that_acks_before_the_disk_has_it_is_found_out_by_a_power_cut(tmp_path):
    report = chaos(tmp_path, seconds=3, faults="power cut", expect=1, durability="os")
    assert report["lost"] > 0
    assert "G1 " in report["verified"]
    assert "VIOLATED" in report["verified"]
