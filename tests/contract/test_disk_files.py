"""Files of an embedded store as a whole: what a check finds, and what a backup takes along."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from imserver.core.files import SEGMENT_BYTES
from imserver.data.directory import DATABASE_NAME, FILES_NAME, DataDirectory
from imserver.data.disk.content import DiskContent, blob_path, blob_paths
from imserver.data.sqlite import backup as sqlite_backup
from imserver.data.sqlite import check as sqlite_check
from imserver.data.sqlite.store import SqliteStore
from tests.contract.file_contract import DIGEST, ROOMY, Place, refer, upload
from tests.contract.records import DOCK, created, robot

SIZE = SEGMENT_BYTES + 100


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A store with a group, in which an event refers to a finished file, and an unfinished one."""
    folder = tmp_path / "data"
    folder.mkdir()
    store = await SqliteStore.open(folder / DATABASE_NAME, durability="os")
    content = DiskContent(folder / FILES_NAME, free_bytes_min=0, on_failure=pytest.fail)
    await content.start()
    place = Place(store, store.files, content)
    await store.ensure_robot(robot("r1"))
    await store.append([created(DOCK)])
    for name in ("whole", "part"):
        await store.files.create(upload(name, size=SIZE), ROOMY)
        await content.put(upload(name).blob, 0, b"x" * SEGMENT_BYTES)
    await content.put(upload("whole").blob, 1, b"y" * 100)
    await content.sync(upload("whole").blob)
    await store.files.complete(upload("whole").id, DIGEST, expires_ms=None)
    await refer(place, upload("whole"), "c1")
    yield place
    await content.aclose()
    await store.aclose()


def rules(folder: Path) -> list[str]:
    return sorted(finding.rule for finding in sqlite_check.check(folder / DATABASE_NAME).findings)


async def test_files_that_are_whole_are_sound(place: Place, tmp_path: Path):
    assert rules(tmp_path / "data") == []


async def test_bytes_that_are_missing_damaged_or_nobodys_are_found(place: Place, tmp_path: Path):
    folder = tmp_path / "data"
    path = blob_path(folder / FILES_NAME, upload("whole").blob)
    kept = path.read_bytes()
    stray = path.with_name("blob-nobodys")
    stray.write_bytes(kept)
    assert rules(folder) == ["stray_content"]
    stray.unlink()
    path.write_bytes(kept[:-1] + b"?")
    assert rules(folder) == ["damaged_content"]
    path.write_bytes(kept[: SEGMENT_BYTES // 2])
    assert rules(folder) == ["damaged_content"]
    path.unlink()
    assert rules(folder) == ["missing_content"]


async def test_a_backup_holds_finished_files_and_can_be_restored(place: Place, tmp_path: Path):
    data, copy, again = tmp_path / "data", tmp_path / "copy", tmp_path / "again"
    sqlite_backup.backup(DataDirectory(data), copy, with_key=False)
    assert rules(copy) == []
    sqlite_backup.restore(copy, DataDirectory(again), force=False)
    assert rules(again) == []
    store = await SqliteStore.open(again / DATABASE_NAME)
    content = DiskContent(again / FILES_NAME, free_bytes_min=0, on_failure=pytest.fail)
    await content.start()
    found = await store.files.find(upload("whole").id)
    assert found is not None
    assert await content.get(found.blob, 1) == b"y" * 100
    assert await store.files.find(upload("part").id) is None
    await content.aclose()
    await store.aclose()


async def test_a_file_that_goes_while_a_backup_is_made_is_not_in_it(place: Place, tmp_path: Path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    shutil.rmtree(data / FILES_NAME)
    sqlite_backup.backup(DataDirectory(data), copy, with_key=False)
    assert rules(copy) == []


async def test_a_store_that_is_replaced_leaves_no_bytes(place: Place, tmp_path: Path):
    data, copy, other = tmp_path / "data", tmp_path / "copy", tmp_path / "other"
    sqlite_backup.backup(DataDirectory(data), copy, with_key=False)
    other.mkdir()
    store = await SqliteStore.open(other / DATABASE_NAME)
    await store.aclose()
    old = blob_path(other / FILES_NAME, "blob-of-before")
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    sqlite_backup.restore(copy, DataDirectory(other), force=True)
    assert [path.name for path in blob_paths(other / FILES_NAME)] == [upload("whole").blob]
