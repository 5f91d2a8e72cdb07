"""A sealed store: nothing in its files can be read, nothing in them can be moved, and keys can be changed."""

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest
from msgspec import Raw, structs

from imserver.core.errors import KeyRingUnusable, SealBroken, SealingKeyMissing
from imserver.core.key_ring import KeyRing, SealingKey
from imserver.core.model import Append, Mismatch, RobotRecord, Stored
from imserver.data.directory import DATABASE_NAME, DataDirectory
from imserver.data.key_ring_file import KeyRingFile
from imserver.data.sealing import EventSeal
from imserver.data.sqlite.backup import backup, restore
from imserver.data.sqlite.check import check
from imserver.data.sqlite.file import load_page_checksums
from imserver.data.sqlite.keys import count_uses, keys_required, remove_key, unseal, wipe
from imserver.data.sqlite.resealing import Resealing
from imserver.data.sqlite.rows import as_sealed, pack, pack_sealed, unpack
from imserver.data.sqlite.store import SqliteStore
from imserver.data.sqlite.writer import StoreHealth, Writer
from imserver.protocol.events import Event
from tests.contract.records import DOCK, EVERYTHING, LINE, R1, R2, YARD, created, event, store_all
from tests.contract.records import whole_log as log_of
from tests.contract.resealing import resealing
from tests.until import until

ROOT = Path(__file__).parents[2]
OLD, NEW, NEWEST = (SealingKey(bytes([number] * 32)) for number in (0, 9, 19))
MARK = b"\xc4\x1eMARKED-"  # a MessagePack value of 30 bytes
COUNT = 1_000


def ring(*keys: SealingKey) -> KeyRing:
    """Return a ring of these keys, of which the last one seals."""
    return KeyRing(keys, keys[-1].id, random_bytes=os.urandom)


def marked(number: int, conv=DOCK) -> Append:
    return event(f"c{number}", conv, body=MARK + b"%023d" % number)


def readable(folder: Path) -> list[str]:
    """Return the files under ``folder`` in which a mark can be read."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path.name for path in files if b"MARKED-" in path.read_bytes()]


async def fill(store: SqliteStore, count: int = COUNT) -> None:
    """Store marked bodies in many commits, of two conversations in turn."""
    await store.ensure_robot(RobotRecord(R1, None, 1))
    await store.append([created(DOCK), created(YARD)])
    for start in range(0, count, 100):
        await store_all(store, [marked(n, (DOCK, YARD)[n % 2]) for n in range(start, start + 100)])


async def assert_whole(store: SqliteStore, count: int = COUNT) -> None:
    """Every marked body is there and can be read."""
    found = [bytes(entry.body) for conv in (DOCK, YARD) for entry in await log_of(store, conv)]
    wanted = {bytes(marked(number).body) for number in range(count)}
    assert wanted <= set(found)


@asynccontextmanager
async def opened(path: Path, *keys: SealingKey) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path, ring=ring(*keys) if keys else None)
    try:
        yield store
    finally:
        await store.aclose()


async def resealed(store: SqliteStore, path: Path, key: SealingKey) -> None:
    """Have it do so to the end, wiping included."""
    async with resealing(store):
        await until(lambda: (value(path, "sealed_with"), value(path, "unwiped")) == (key.id, None))


def value(path: Path, name: str) -> str | None:
    return sql(path, "SELECT value FROM meta WHERE name = ?", (name,))


def sql(path: Path, statement: str, values: Iterable[object] = ()) -> str | None:
    """Run a statement as somebody would who has the file."""
    load_page_checksums()
    db = apsw.Connection(str(path))
    try:
        answer: str | None = db.execute(statement, tuple(values)).get
        return answer
    finally:
        db.close()


async def test_nothing_can_be_read_while_it_runs_nor_after_a_kill_nor_in_a_backup(tmp_path) -> None:
    home, killed, copy, again = (tmp_path / name for name in ("home", "killed", "copy", "again"))
    home.mkdir()
    path = home / DATABASE_NAME
    async with opened(path, NEW) as store:
        await fill(store)
        assert (home / f"{DATABASE_NAME}-wal").stat().st_size > 100_000
        assert readable(home) == []
        shutil.copytree(home, killed)  # what kill -9 leaves
        backup(DataDirectory(home), copy, with_key=False)
        assert readable(copy) == []
        await assert_whole(store)
    assert readable(home) == []
    assert readable(killed) == []
    async with opened(killed / DATABASE_NAME, NEW) as store:
        await assert_whole(store)
        assert readable(killed) == []
    restore(copy, DataDirectory(again), ring=ring(NEW), force=False)
    assert readable(again) == []
    async with opened(again / DATABASE_NAME, NEW) as store:
        await assert_whole(store)


async def test_the_search_for_marks_finds_them_where_nothing_is_sealed(tmp_path) -> None:
    async with opened(tmp_path / DATABASE_NAME) as store:
        await fill(store)
        assert readable(tmp_path) == [f"{DATABASE_NAME}-wal"]


async def test_what_was_stored_before_sealing_was_turned_on_is_sealed_and_wiped(tmp_path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    home.mkdir()
    path = home / DATABASE_NAME
    async with opened(path) as store:
        await fill(store)
        await store.trim(DOCK, 300, limit=1_000)  # leaves free pages full of bodies
    assert readable(home) == [DATABASE_NAME]
    async with opened(path, NEW) as store:
        await resealed(store, path, NEW)
        assert readable(home) == []
        assert count_uses(path).plain == 0
        assert {bytes(entry.body) for entry in await log_of(store, YARD)} >= {
            bytes(marked(number).body) for number in range(1, COUNT, 2)
        }
        await store_all(store, [marked(COUNT)])
        assert readable(home) == []
        backup(DataDirectory(home), copy, with_key=False)
    assert readable(home) == readable(copy) == []


async def test_after_a_rotation_and_without_the_old_key_all_can_be_read(tmp_path) -> None:
    path = tmp_path / "store.db"
    file = KeyRingFile(tmp_path / "sealing.keys", random_bytes=os.urandom)
    old = file.create(now_ms=1)
    store = await SqliteStore.open(path, ring=file.load())
    await fill(store)
    new = file.rotate(now_ms=2)
    with pytest.raises(KeyRingUnusable, match="1,002 bodies are sealed with it"):
        remove_key(path, file, old)
    async with resealing(store):
        store.sealing.renew(file)
        await until(lambda: keys_required(path) == {new})
        await store_all(store, [marked(COUNT)])
    assert count_uses(path).keys == {new: COUNT + 3}
    remove_key(path, file, old)
    await store.aclose()
    store = await SqliteStore.open(path, ring=file.load())
    await assert_whole(store, COUNT + 1)
    await store.aclose()
    assert check(path, file.load()).unopened == 0


async def test_a_key_that_changes_again_half_way_has_all_rows_gone_through_anew(tmp_path) -> None:
    path = tmp_path / "store.db"
    async with opened(path, OLD) as store:
        await fill(store)
    seal = EventSeal(ring(OLD, NEW))
    writer, half_way = Writer(path, "full", StoreHealth(), seal), Resealing(seal)
    writer.transact(half_way.begin)
    assert 0 < writer.transact(half_way.step).part < 1
    writer.close()
    assert count_uses(path).keys.keys() == {OLD.id, NEW.id}
    async with opened(path, OLD, NEW, NEWEST) as store:
        await resealed(store, path, NEWEST)
        await assert_whole(store)
    assert count_uses(path).keys == {NEWEST.id: COUNT + 2}


async def test_the_old_ciphertext_is_wiped_with_the_old_key(tmp_path) -> None:
    path = tmp_path / "store.db"
    async with opened(path, OLD) as store:
        await fill(store, 100)
        await resealed(store, path, OLD)
    before = str(sql(path, "SELECT hex(packed) FROM events WHERE cid = 'c7'"))
    async with opened(path, OLD, NEW) as store:
        await resealed(store, path, NEW)
        files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert bytes.fromhex(before)[-40:] not in files


async def test_a_key_that_a_running_server_may_still_seal_with_cannot_be_removed(tmp_path) -> None:
    path = tmp_path / "store.db"
    file = KeyRingFile(tmp_path / "sealing.keys", random_bytes=os.urandom)
    old = file.create(now_ms=1)
    store = await SqliteStore.open(path, ring=file.load())
    file.rotate(now_ms=2)
    with pytest.raises(KeyRingUnusable, match="has not been told"):
        remove_key(path, file, old)
    await store.aclose()
    remove_key(path, file, old)
    await (await SqliteStore.open(path, ring=file.load())).aclose()


async def test_a_ring_that_lacks_a_key_that_is_in_use_is_not_taken_over(tmp_path, caplog) -> None:
    path = tmp_path / "store.db"
    other = KeyRingFile(tmp_path / "other.keys", random_bytes=os.urandom)
    other.create(now_ms=1)
    async with opened(path, OLD) as store, resealing(store):
        await fill(store, 100)
        store.sealing.renew(other)
        await until(lambda: "sealing.ring_refused" in caplog.messages)
        await store_all(store, [marked(100)])
        await assert_whole(store, 101)
    assert count_uses(path).keys == {OLD.id: 103}


@pytest.mark.parametrize("keys", [(), (NEW,)])
async def test_a_store_is_not_opened_without_the_key_that_it_is_sealed_with(tmp_path, keys) -> None:
    path = tmp_path / "store.db"
    async with opened(path, OLD) as store:
        await fill(store, 100)
    with pytest.raises(KeyRingUnusable, match=OLD.id) as refused:
        await SqliteStore.open(path, ring=ring(*keys) if keys else None)
    assert isinstance(refused.value, SealingKeyMissing) == bool(keys)
    async with opened(path, OLD) as store:  # nothing was changed
        await assert_whole(store, 100)


FORGERIES = {
    "a flipped bit": lambda event, _: body(event, event.body[:39] + b"\0" + event.body[40:]),
    "a body of another row": lambda event, other: body(event, other.body),
    "another sender": lambda event, _: structs.replace(event, sender="r2"),
    "another cid": lambda event, _: structs.replace(event, cid="c10x"),
    "another kind": lambda event, _: structs.replace(event, kind="redact"),
    "another time": lambda event, _: structs.replace(event, ts=event.ts + 1),
    "another ref": lambda event, _: structs.replace(event, ref=1),
    "a key that is not there": lambda event, _: body(event, bytes(4) + event.body[4:]),
    "a body that is not sealed": lambda event, _: structs.replace(event, body=Raw(b"\xa3fox")),
}


def body(event: Event, sealed: bytes) -> Event:
    return structs.replace(event, body=Raw(sealed))


def forge(path: Path, forgery: str) -> None:
    """Do to the row of c10 what somebody might who can write the file."""
    db = apsw.Connection(str(path))
    event, other = (
        as_sealed(unpack(packed))
        for (packed,) in db.execute("SELECT packed FROM events WHERE cid IN ('c10', 'c12')")
    )
    plain = forgery == "a body that is not sealed"
    event, other = (structs.replace(e, body=bytes(e.body)) for e in (event, other))  # to be cut
    forged = FORGERIES[forgery](event, other)
    packed = pack(forged) if plain else pack_sealed(forged, bytes(forged.body))
    update = "UPDATE events SET packed = ?, sealed = iif(?, NULL, sealed) WHERE cid = 'c10'"
    db.execute(update, (packed, plain))
    db.close()


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_what_somebody_did_to_a_row_is_refused_by_name(tmp_path, forgery) -> None:
    path = tmp_path / "store.db"
    async with opened(path, NEW) as store:
        await fill(store, 100)
    forge(path, forgery)
    async with opened(path, NEW) as store:
        assert len(await store.read_after(DOCK, 0, limit=6, bytes_max=EVERYTHING)) == 6
        with pytest.raises(SealBroken, match="the body of g/dock 7"):
            await store.read_after(DOCK, 0, limit=7, bytes_max=EVERYTHING)
        assert len(await store.read_after(DOCK, 7, limit=9, bytes_max=EVERYTHING)) == 9
    rules = {finding.rule: finding for finding in check(path, ring(NEW)).findings}
    expected = "not_sealed" if forgery == "a body that is not sealed" else "broken_seal"
    assert rules[expected].witnesses == ("g/dock: 7",)
    assert rules[expected].count == 1


async def test_a_forged_first_body_makes_a_repeated_cid_a_conflict_and_harms_no_other(
    tmp_path,
) -> None:
    path = tmp_path / "store.db"
    async with opened(path, NEW) as store:
        await fill(store, 100)
    forge(path, "a flipped bit")
    async with opened(path, NEW) as store:
        again, new = await store.append([marked(10), marked(100)])
        assert isinstance(again, Mismatch)
        [read] = await store.read_after(DOCK, 51, limit=9, bytes_max=EVERYTHING)
        assert isinstance(new, Stored)
        assert new.event == read


async def test_a_body_that_cannot_be_opened_does_not_keep_the_others_from_a_new_key(
    tmp_path, caplog
) -> None:
    path = tmp_path / "store.db"
    async with opened(path, OLD) as store:
        await fill(store, 100)
    forge(path, "a flipped bit")
    caplog.set_level("INFO")
    async with opened(path, OLD, NEW) as store, resealing(store):
        await until(lambda: "sealing.resealed" in caplog.messages)
        assert count_uses(path).keys == {OLD.id: 1, NEW.id: 101}
        assert keys_required(path) == {OLD.id, NEW.id}  # the old one still has something to open


async def test_a_check_without_the_ring_says_what_it_could_not_look_into(tmp_path) -> None:
    path = tmp_path / "store.db"
    async with opened(path, OLD) as store:
        await store.append([event("c", LINE, sender=R2)])
    assert check(path).unopened == check(path, ring(NEW)).unopened == 1
    assert check(path, ring(OLD)).unopened == 0


async def test_a_backup_is_not_restored_without_its_key_unless_by_force(tmp_path) -> None:
    home, copy, again = (tmp_path / name for name in ("home", "copy", "again"))
    home.mkdir()
    async with opened(home / DATABASE_NAME, OLD) as store:
        await fill(store, 100)
        backup(DataDirectory(home), copy, with_key=False)
    for given in (None, ring(NEW)):
        with pytest.raises(KeyRingUnusable, match=OLD.id):
            restore(copy, DataDirectory(again), ring=given, force=False)
    assert not (again / DATABASE_NAME).exists()
    restore(copy, DataDirectory(again), ring=None, force=True)
    async with opened(again / DATABASE_NAME, OLD) as store:
        await assert_whole(store, 100)


async def test_seals_can_be_taken_away_for_good(tmp_path) -> None:
    path = tmp_path / "store.db"
    async with opened(path, OLD) as store:
        await fill(store, 400)
    with pytest.raises(SealingKeyMissing):
        unseal(path, ring(NEW))
    unseal(path, ring(OLD))
    async with opened(path) as store:
        await assert_whole(store, 400)
    assert count_uses(path).keys == {}


async def test_a_file_too_large_to_be_written_anew_is_wiped_when_no_server_runs(tmp_path) -> None:
    path = tmp_path / DATABASE_NAME
    async with opened(path) as store:
        await fill(store)
        await store.trim(DOCK, 400, limit=1_000)
    wipe(path)
    async with opened(path) as store:
        first = (await log_of(store, DOCK))[0].body
    assert bytes(first) in path.read_bytes()
    assert bytes(marked(10).body) not in path.read_bytes()


def reseal_process(path: Path, keys: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.contract.store_process", "reseal", str(path), str(keys)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.process
async def test_a_rotation_that_is_killed_again_and_again_loses_nothing_and_comes_to_its_end(
    tmp_path,
) -> None:
    path = tmp_path / "store.db"
    file = KeyRingFile(tmp_path / "sealing.keys", random_bytes=os.urandom)
    file.create(now_ms=1)
    count = 3_000
    store = await SqliteStore.open(path, ring=file.load())
    await fill(store, count)
    await store.aclose()
    new = file.rotate(now_ms=2)
    chance = random.Random(os.environ.get("IMSERVER_TEST_SEED", "rotation"))
    places: set[str | None] = set()
    for is_last in (False,) * 5 + (True,):
        with reseal_process(path, file.path) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it has begun
            await asyncio.sleep(chance.uniform(0, 0.05))
            if is_last and len(places) == 1:  # where all processors are busy that was too soon
                await until(lambda: value(path, "resealed") not in places)
            process.kill()
        places.add(value(path, "resealed"))
        assert check(path, file.load()).unopened == 0
        assert check(path, file.load()).findings == ()
    assert len(places) > 1
    store = await SqliteStore.open(path, ring=file.load())
    await assert_whole(store, count)
    async with resealing(store):
        await until(lambda: keys_required(path) == {new})
    await store.aclose()
    assert count_uses(path).keys == {new: count + 2}
