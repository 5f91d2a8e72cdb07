"""What only a file can suffer: killed processes, full disks, failing writes. All of it real."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from imserver.data.sqlite.check import check
from imserver.data.sqlite.store import SqliteStore
from tests.contract.records import LINE, R1, event, seqs, stored, whole_log
from tests.contract.store_process import BATCH

Line: TypeAlias = dict[str, Any]

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.process


@contextmanager
def store_process(scenario: str, path: Path, *prefix: str) -> Iterator[Iterator[Line]]:
    """Start a process and give what it says, line by line; it does not outlive the block."""
    command = [*prefix, sys.executable, "-m", "tests.contract.store_process", scenario, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield map(json.loads, process.stdout)
        finally:
            process.kill()


async def assert_acknowledged_is_stored(path: Path, said: list[Line]) -> None:
    """Every acknowledged batch is in the file at its seq, the log has no gap, and it goes on."""
    store = await SqliteStore.open(path)
    try:
        log = await whole_log(store, LINE)
        assert seqs(log) == list(range(1, len(log) + 1))
        for line in said:
            cids = [log[seq - 1].cid for seq in line["seqs"]]
            assert cids == [f"{line['batch']}-{n}" for n in range(BATCH)]
        [outcome] = await store.append([event("after", LINE)])
        assert stored(outcome).event.seq == len(log) + 1
    finally:
        await store.aclose()
    assert [finding.rule for finding in check(path).findings] == ["unregistered_member"]


@pytest.mark.parametrize("batches", [1, 50, 400])
async def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path, batches: int) -> None:
    path = tmp_path / "store.db"
    with store_process("append", path) as lines:
        said = [next(lines) for _ in range(batches)]
    await assert_acknowledged_is_stored(path, said)


async def test_a_store_whose_processes_die_one_after_the_other_stays_in_doubt(
    tmp_path: Path,
) -> None:
    home = tmp_path / "first"
    home.mkdir()
    store = await SqliteStore.open(home / "store.db")
    await store.append([event("m", LINE)])
    for life in range(3):
        left = tmp_path / f"left-{life}"
        shutil.copytree(home, left)  # what kill -9 leaves
        await store.aclose()
        home, store = left, await SqliteStore.open(left / "store.db")
    assert await store.note_loss(LINE, 9)
    await store.aclose()
    store = await SqliteStore.open(home / "store.db")
    assert not await store.note_loss(LINE, 10), "it ended in good order"
    await store.aclose()


async def test_a_store_is_checked_beside_its_server_and_after_its_death(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with store_process("append", path) as lines:
        next(lines)
        assert check(path).events >= BATCH
    report = check(path)
    assert report.events >= BATCH
    assert [finding.rule for finding in report.findings] == ["unregistered_member"]


@pytest.mark.parametrize("scenario", ["limit", "limit-in-a-transaction"])
async def test_after_a_failed_commit_the_store_takes_no_more_calls(
    tmp_path: Path, scenario: str
) -> None:
    path = tmp_path / "store.db"
    with store_process(scenario, path) as lines:
        said = list(lines)
    errors = [line for line in said if "error" in line]
    assert [line["error"] for line in errors] == ["StoreFailed"] * 3
    assert "until the server is started again" in errors[0]["text"]
    assert said[-3:] == errors
    await assert_acknowledged_is_stored(path, said[:-3])


def _small_disk(folder: Path) -> list[str]:
    """Return the words that run a command with a disk of 4 MiB at ``folder``, in a name space of its own."""
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    words += ['mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"', str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("needs the right to mount a small tmpfs in a name space of its own")
    return words


@pytest.mark.parametrize("scenario", ["full", "full-in-a-transaction"])
def test_a_full_disk_refuses_writes_until_there_is_room(tmp_path: Path, scenario: str) -> None:
    with store_process(scenario, tmp_path / "store.db", *_small_disk(tmp_path)) as lines:
        said = list(lines)
    *batches, refused, after, end = said
    assert refused["error"] == "StoreUnavailable"
    assert len(batches) > 10
    count = BATCH * (len(batches) + 1)
    assert after["seqs"] == list(range(count - BATCH + 1, count + 1))
    assert end["log"] == list(range(1, count + 1))
    assert end["moved"] > 0
    assert end["acked"] == {R1: end["moved"]}
