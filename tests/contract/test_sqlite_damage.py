"""A flipped bit in the files of a killed store is refused or named, never passed over."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec
import pytest

from imserver.core.errors import StoreCorrupt
from imserver.data.directory import DATABASE_NAME, DataDirectory
from imserver.data.sqlite import file as sqlite_file
from imserver.data.sqlite.backup import accept_loss
from imserver.data.sqlite.check import check
from imserver.data.sqlite.store import SqliteStore
from imserver.data.sqlite.wal import Damage, find_damage, index_path, wal_path
from imserver.protocol.events import Event
from tests.contract.records import LINE, cursor, event, robot, stored, whole_log

EVENTS = 120
FLIPS = 150


class Crime:
    """The files of a store whose process died, in two parts: copied into the database, and not yet."""

    def __init__(self, folder: Path, log: list[Event]) -> None:
        self.folder = folder
        self.log = log
        self.path = folder / "store.db"
        self._scene = folder.parent / "scene"

    def copy(self) -> Path:
        """Return the store as the death left it, to be spoiled."""
        shutil.rmtree(self._scene, ignore_errors=True)
        shutil.copytree(self.folder, self._scene)
        return self._scene / self.path.name

    async def outcome(self, path: Path) -> str:
        """Open a spoiled store and tell whether it was refused, named its loss, or lost nothing."""
        try:
            store = await SqliteStore.open(path)
        except StoreCorrupt:
            return "refused"
        try:
            return "sound" if await whole_log(store, LINE) == self.log else "silent"
        except StoreCorrupt:
            return "named"
        finally:
            await store.aclose()


@pytest.fixture
async def crime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crime:
    # A store that stood still for a while, on a busy machine, would begin its log anew behind what is copied.
    monkeypatch.setattr("imserver.data.sqlite.writer._IDLE_S", 3_600.0)
    living = tmp_path / "living"
    living.mkdir()
    path = living / "store.db"
    store = await SqliteStore.open(path)
    for name in ("r1", "r2"):
        await store.ensure_robot(robot(name))
    log = []
    for number in range(EVENTS):
        body = msgspec.msgpack.encode(random.randbytes(300 if number % 20 else 9_000))
        [outcome] = await store.append([event(f"c{number}", LINE, body=body)])
        log.append(stored(outcome).event)
        if number == EVENTS // 2:
            await store.aclose()
            store = await SqliteStore.open(path)
    await store.move_cursors([cursor(30, LINE)])
    shutil.copytree(living, tmp_path / "dead")  # what kill -9 leaves in the page cache
    await store.aclose()
    return Crime(tmp_path / "dead", log)


@pytest.fixture
def draw() -> random.Random:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def flips(file: Path, draw: random.Random) -> Iterator[tuple[int, int]]:
    size = file.stat().st_size
    for _ in range(FLIPS):
        yield draw.randrange(size), draw.randrange(8)


def flip(file: Path, place: int, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


async def test_a_killed_store_is_opened_without_alarm(crime):
    assert await crime.outcome(crime.copy()) == "sound"


async def test_a_flipped_bit_in_the_log_is_always_refused(crime, draw):
    for place, bit in flips(wal_path(crime.path), draw):
        path = crime.copy()
        flip(wal_path(path), place, bit)
        assert await crime.outcome(path) == "refused", (place, bit)


async def test_a_flipped_bit_in_the_database_is_refused_or_heals(crime, draw):
    for place, bit in flips(crime.path, draw):
        path = crime.copy()
        flip(path, place, bit)
        # A page that stands whole in the log as well is read from there, and written anew.
        assert await crime.outcome(path) in ("refused", "sound"), (place, bit)


async def test_a_flipped_bit_in_a_large_database_is_named_when_it_is_read(
    crime, draw, monkeypatch, caplog
):
    monkeypatch.setattr(sqlite_file, "_VERIFIED_BYTES_MAX", 0)
    outcomes = []
    for place, bit in flips(crime.path, draw):
        path = crime.copy()
        flip(path, place, bit)
        outcomes.append(await crime.outcome(path))
    assert "silent" not in outcomes
    assert "named" in outcomes
    assert "store.damaged" in {record.message for record in caplog.records}


async def test_a_damaged_page_ends_writing_before_anything_is_built_on_it(crime, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_VERIFIED_BYTES_MAX", 0)
    path = crime.copy()
    store = await SqliteStore.open(path)
    await store.aclose()
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start + 2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match="damaged"):
        store = await SqliteStore.open(path)


async def test_the_refusal_keeps_the_log_and_says_how_to_go_on(crime):
    path = crime.copy()
    flip(wal_path(path), 32 + 4120 * 5 + 700, 4)
    content = wal_path(path).read_bytes()
    with pytest.raises(StoreCorrupt, match=r"frame 6 is damaged.*at least \d+ commits") as refusal:
        await SqliteStore.open(path)
    [copy] = path.parent.glob("*damaged*")
    assert copy.read_bytes() == content == wal_path(path).read_bytes()
    assert str(copy) in str(refusal.value)
    assert "accept-loss" in str(refusal.value)


async def test_check_names_damage_in_the_log_and_touches_nothing(crime):
    path = crime.copy()
    flip(wal_path(path), 32 + 4120 * 5 + 700, 4)
    before = {file: file.read_bytes() for file in (path, wal_path(path), index_path(path))}
    [finding] = check(path).findings
    assert finding.rule == "lost_commits"
    assert "frame 6" in finding.witnesses[0]
    assert before == {file: file.read_bytes() for file in before}


async def test_check_names_a_damaged_page(crime):
    path = crime.copy()
    await (await SqliteStore.open(path)).aclose()
    flip(path, 4096 * 6 + 2222, 1)
    findings = {finding.rule: finding for finding in check(path).findings}
    assert "the checksum of page 7 is wrong" in findings["damage"].witnesses


def find_damage_of_copy(path: Path) -> Damage | None:
    """Look at the log of a store that is open, as if its process had died now."""
    copy = path.with_name("killed.db")
    for file_of in (wal_path, index_path):
        shutil.copyfile(file_of(path), file_of(copy))
    return find_damage(copy)


async def test_with_durability_os_a_damaged_log_is_kept_and_logged_and_not_refused(crime, caplog):
    path = crime.copy()
    flip(wal_path(path), 32 + 4120 * 40 + 700, 4)
    store = await SqliteStore.open(path, durability="os")
    kept = await whole_log(store, LINE)
    await store.append([event("goes on", LINE)])
    assert find_damage_of_copy(path) is None
    await store.aclose()
    assert kept == crime.log[: len(kept)]
    assert "store.wal_damaged" in {record.message for record in caplog.records}
    assert len(list(path.parent.glob("*damaged*"))) == 1


async def test_a_store_of_an_older_schema_is_refused_by_its_number(tmp_path):
    path = tmp_path / "old.db"
    store = await SqliteStore.open(path)
    await store.aclose()
    db = apsw.Connection(str(path))
    db.execute("UPDATE meta SET value = '2' WHERE name = 'schema_version'")
    db.close()
    with pytest.raises(StoreCorrupt, match="schema 2, and this version"):
        await SqliteStore.open(path)


async def test_a_log_that_was_removed_is_refused_until_the_loss_is_accepted(crime):
    folder = crime.copy().parent
    wal_path(folder / "store.db").unlink()
    for file in list(folder.iterdir()):
        file.rename(folder / file.name.replace("store.db", DATABASE_NAME))
    with pytest.raises(StoreCorrupt, match="removed after a crash"):
        await SqliteStore.open(folder / DATABASE_NAME)
    report = accept_loss(DataDirectory(folder))
    assert report is not None
    assert report.findings == ()
    assert 0 < report.events < len(crime.log)
