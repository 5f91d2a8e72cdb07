"""The embedded store's file: what it keeps, who may open it, and what it refuses to be."""

import asyncio
import logging
from pathlib import Path

import apsw
import pytest
from msgspec import structs

from imserver.core.errors import (
    DataDirectoryBusy,
    StoreCorrupt,
    StoreTooNew,
    StoreUnavailable,
)
from imserver.data.sqlite.append import RepeatedCid
from imserver.data.sqlite.file import SCHEMA_VERSION, StoreLock, open_for_reading
from imserver.data.sqlite.statements import load_script, load_statements
from imserver.data.sqlite.store import SqliteStore
from imserver.data.sqlite.writer import StoreHealth, Writer
from tests.contract.records import (
    DOCK,
    LINE,
    MAIN,
    R1,
    body_of,
    created,
    cursor,
    enrolment,
    event,
    events,
    robot,
    seqs,
    store_all,
    stored,
    whole_log,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def run_sql(path: Path, sql: str) -> None:
    """Make a store and change its file behind its back."""
    await (await SqliteStore.open(path)).aclose()
    db = apsw.Connection(str(path))
    db.execute(sql)
    db.close()


async def test_everything_is_there_after_opening_again(path):
    store = await SqliteStore.open(path)
    await store.append([created(members=["r2"]), *events(300)])
    await store.move_cursors([cursor(40)])
    await store.register(robot("r1"), enrolment=enrolment("t"))
    before = (
        await whole_log(store),
        await store.conversation(DOCK),
        await store.memberships(R1, MAIN),
        await store.robots(after="", limit=9),
    )
    await store.aclose()
    store = await SqliteStore.open(path)
    assert before == (
        await whole_log(store),
        await store.conversation(DOCK),
        await store.memberships(R1, MAIN),
        await store.robots(after="", limit=9),
    )
    again, new = await store.append([events(300)[7], event("new")])
    assert (stored(again).dup, stored(again).event.seq, stored(new).event.seq) == (True, 9, 302)
    await store.aclose()


async def test_a_closed_store_leaves_one_file_and_its_lock(path):
    store = await SqliteStore.open(path)
    await store_all(store, events(300, LINE))
    await store.aclose()
    assert {file.name for file in path.parent.iterdir()} == {"store.db", "store.db.lock"}


async def test_a_second_store_of_the_file_is_refused_by_name(path):
    store = await SqliteStore.open(path)
    with pytest.raises(DataDirectoryBusy, match=str(path)):
        await SqliteStore.open(path)
    await store_all(store, [event("still-works", LINE)])
    await store.aclose()
    await (await SqliteStore.open(path)).aclose()


@pytest.mark.parametrize(
    ("sql", "error", "text"),
    [
        ("UPDATE meta SET value = '99' WHERE name = 'schema_version'", StoreTooNew, "schema 99"),
        ("UPDATE meta SET value = 'x' WHERE name = 'schema_version'", StoreCorrupt, "'x'"),
        ("DELETE FROM meta WHERE name = 'schema_version'", StoreCorrupt, "None"),
        ("PRAGMA application_id = 7", StoreCorrupt, "not a store of imserver"),
    ],
)
async def test_a_file_of_another_kind_is_refused_and_let_go(path, sql, error, text):
    await run_sql(path, sql)
    with pytest.raises(error, match=text):
        await SqliteStore.open(path)
    StoreLock(path).release()


async def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(StoreCorrupt, match="not an SQLite file"):
        await SqliteStore.open(path)


async def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(StoreUnavailable, match="No such file"):
        await SqliteStore.open(tmp_path / "nowhere" / "store.db")


async def test_opening_is_logged_with_the_library_version(path, caplog):
    with caplog.at_level(logging.INFO, logger="imserver.data.sqlite.store"):
        await (await SqliteStore.open(path)).aclose()
    [record] = [record for record in caplog.records if record.message == "store.opened"]
    assert record.sqlite == apsw.sqlite_lib_version()
    assert record.schema == SCHEMA_VERSION


async def test_a_closed_store_refuses_calls(path):
    store = await SqliteStore.open(path)
    await store.aclose()
    for call in (store.append([event("m", LINE)]), store.conversation(LINE), store.probe()):
        with pytest.raises(StoreUnavailable, match="closed"):
            await call


async def test_closing_answers_the_calls_that_came_before(path):
    store = await SqliteStore.open(path)
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(store_all(store, [event(f"c{n}", LINE)])) for n in range(20)]
        await asyncio.sleep(0)  # every call is on its way
        await store.aclose()
    assert [call.result()[0].seq for call in calls] == list(range(1, 21))


async def test_a_cancelled_caller_does_not_stop_its_append(path):
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    store = await SqliteStore.open(path)
    call = asyncio.create_task(store.append([event("m", LINE)]))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    again = stored((await store.append([event("m", LINE)]))[0])
    assert (again.dup, again.event.seq) == (True, 1)
    await store.aclose()
    assert complaints == []


@pytest.mark.parametrize("before", [[], [created()]], ids=["alone", "behind-a-change"])
@pytest.mark.parametrize(
    ("wrong", "error"), [({"ts": 2**70}, OverflowError), ({"sender": None}, StoreUnavailable)]
)
async def test_a_failed_append_uses_up_no_seq(path, before, wrong, error):
    store = await SqliteStore.open(path)
    await store_all(store, events(3, LINE))
    impossible = structs.replace(event("x", LINE), **wrong)
    with pytest.raises(error):
        await store.append([*before, event("lost", LINE), impossible])
    assert seqs(await store_all(store, [event("lost", LINE), event("next", LINE)])) == [4, 5]
    await store.aclose()


async def test_a_failed_append_makes_no_group(path):
    store = await SqliteStore.open(path)
    with pytest.raises(OverflowError):
        await store.append([created(), structs.replace(event("x"), ts=2**70)])
    assert await store.conversation(DOCK) is None
    assert seqs(await store.append([created(), event("m")])) == [1, 2]
    await store.aclose()


async def test_another_process_that_writes_makes_the_store_unavailable_for_a_while(path):
    store = await SqliteStore.open(path)
    await store_all(store, [event("m", LINE)])
    stranger = apsw.Connection(str(path))
    stranger.execute("BEGIN IMMEDIATE")
    for call in (store.append([event("n", LINE)]), store.move_cursors([cursor(1, LINE)])):
        with pytest.raises(StoreUnavailable, match="locked"):
            await call
    stranger.execute("ROLLBACK")
    stranger.close()
    assert seqs(await store_all(store, [event("n", LINE)])) == [2]
    await store.aclose()


async def test_the_write_ahead_log_stays_bounded(path):
    store = await SqliteStore.open(path, durability="os")
    for number in range(40):
        batch = [event(f"{number}-{n}", LINE, body=body_of(10_000)) for n in range(100)]
        await store.append(batch)
    assert path.with_name("store.db-wal").stat().st_size < 24 * 1024 * 1024
    await store.aclose()


async def test_an_idle_store_copies_its_log_into_the_database(path):
    store = await SqliteStore.open(path)
    await store_all(store, [event("m", LINE, body=body_of(300_000))])
    async with asyncio.timeout(10):
        while path.stat().st_size < 300_000:
            await asyncio.sleep(0.02)
    await store.aclose()


async def test_what_a_killed_process_left_unsynced_is_made_durable_before_it_is_served(
    path, tmp_path
):
    store = await SqliteStore.open(path)
    await store.append([created(), *events(20)])
    left = tmp_path / "left"
    left.mkdir()
    for file in tmp_path.glob("store.db*"):
        (left / file.name).write_bytes(file.read_bytes())
    await store.aclose()
    assert (left / "store.db-wal").stat().st_size > 0
    again = await SqliteStore.open(left / "store.db")
    assert (left / "store.db-wal").stat().st_size == 0
    assert len(await whole_log(again)) == 21
    await again.aclose()


async def test_spent_tokens_are_forgotten_a_day_after_they_expired(path):
    store = await SqliteStore.open(path)
    day = 86_400_000
    await store.register(robot("r1", at=1_000), enrolment=enrolment("old", expires=2_000))
    await store.register(robot("r2", at=day), enrolment=enrolment("new", expires=day + 1))
    await store.register(robot("r3", at=day + 3_000), enrolment=enrolment("last", expires=2 * day))
    await store.aclose()
    db = apsw.Connection(str(path))
    kept = db.execute("SELECT id FROM spent_tokens ORDER BY id").fetchall()
    db.close()
    assert kept == [("last",), ("new",)]


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("os", 1)])
def test_the_writer_syncs_as_asked_and_leaves_checkpoints_to_itself(path, durability, synchronous):
    writer = Writer(path, durability, StoreHealth())
    pragmas = ("synchronous", "wal_autocheckpoint", "mmap_size", "journal_mode")
    assert [writer._db.pragma(name) for name in pragmas] == [synchronous, 0, 0, "wal"]
    writer.close()


async def test_no_question_scans_a_whole_table(path):
    await (await SqliteStore.open(path)).aclose()
    db = open_for_reading(path)
    names = ("conv", "after", "before", "limit", "bytes_max", "seqs", "name", "names")
    names += ("events", "body_bytes", "until")
    values = dict.fromkeys((*names, "robot", "device", "member"), 1)
    for name, sql in load_statements("imserver.data.sqlite", "reads.sql").items():
        steps = [str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        tables = ("events", "members", "cursors", "robots", "conversations", "own")
        assert not [step for step in steps if step.removeprefix("SCAN ") in tables], name
    db.close()


def test_a_repeat_undoes_its_whole_statement(path):
    writer = Writer(path, "os", StoreHealth())
    writer.append(events(3, LINE))
    run = writer._appender.plain_run([event("new", LINE), event("c1", LINE)])
    assert run is not None
    with pytest.raises(RepeatedCid):
        writer._appender.add(run)
    writer.close()
    db = open_for_reading(path)
    assert db.execute("SELECT count(*) FROM events").get == 3
    db.close()


def test_statements_come_by_name_without_their_comments():
    for name in ("reads.sql", "writes.sql", "check.sql"):
        statements = load_statements("imserver.data.sqlite", name)
        assert len(statements) == load_script("imserver.data.sqlite", name).count("-- name: ")
        assert all(text and "--" not in text for text in statements.values())
