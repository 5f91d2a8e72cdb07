"""A backup is the store as it was at one moment, whatever its log holds at that moment."""

from pathlib import Path

from imserver.data.directory import DATABASE_NAME, DataDirectory
from imserver.data.sqlite.backup import backup
from imserver.data.sqlite.store import SqliteStore
from tests.contract.records import created, event, robot

MORE_THAN_A_CACHE = 3_000
"""Events of a page each nearly: SQLite does not keep all of those in memory while it copies."""
BIG_BODY = b"\xc5" + (2_000).to_bytes(2) + bytes(2_000)


async def test_a_backup_of_a_store_whose_events_are_in_its_log_is_sound(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    store = await SqliteStore.open(data.path / DATABASE_NAME)
    await store.ensure_robot(robot("r1"))
    await store.append([created()])
    await store.append([event(f"c{n}", body=BIG_BODY) for n in range(MORE_THAN_A_CACHE)])
    report = backup(data, tmp_path / "copy", with_key=False)
    await store.aclose()
    assert report.findings == ()
    assert report.events == MORE_THAN_A_CACHE + 1
