"""Moving house: from a data directory to MongoDB and back, with everything in it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from imserver.core.model import Cursor
from imserver.data.directory import DATABASE_NAME, KEY_RING_NAME
from imserver.data.key_ring_file import KeyRingFile
from imserver.data.mongo.store import MongoStore
from imserver.data.sqlite.store import SqliteStore
from imserver.data.store import Store
from imserver.protocol.events import Role
from tests.contract.file_contract import ROOMY, upload
from tests.contract.records import (
    DOCK,
    EVERYTHING,
    LINE,
    MAIN,
    R1,
    R2,
    R3,
    SPARE,
    YARD,
    added,
    created,
    deleted,
    enrolment,
    event,
    events,
    removed,
    robot,
)
from tests.mongo_server import MongoSet

pytestmark = pytest.mark.one_node(reason="it moves stores, no server runs")


def migrate(source: object, target: object, *more: object) -> tuple[int, str]:
    command = [
        sys.executable,
        "-m",
        "imserver",
        "migrate",
        "--from",
        str(source),
        "--to",
        str(target),
        *map(str, more),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


async def fill(store: Store) -> None:
    await store.register(robot("r1"), enrolment=enrolment("t1"))
    await store.ensure_robot(robot("r2"))
    await store.append([created(DOCK, members=["r2"], is_open=True), created(YARD)])
    await store.append([*events(3_000), added("a", R3, role=Role.ADMIN), removed("x", R2)])
    await store.append([event("m", LINE, ref=7, body=bytes(range(256))), deleted("end", YARD)])
    await store.move_cursors([Cursor(R1, MAIN, DOCK, 17), Cursor(R1, SPARE, DOCK, 99)])
    await store.trim(DOCK, 40, limit=1_000)


async def seen(store: Store) -> tuple[Any, ...]:
    convs = [await store.conversation(conv) for conv in (DOCK, YARD, LINE)]
    logs = []
    for conv in (DOCK, YARD, LINE):
        log = await store.read_after(conv, 0, limit=9_999, bytes_max=EVERYTHING)
        logs.append([(e.seq, e.ts, e.sender, e.cid, e.kind, e.ref, bytes(e.body)) for e in log])
    robots = await store.robots(after="", limit=99)
    members = [await store.memberships(name, MAIN) for name in (R1, R2, R3)]
    return convs, logs, robots, members, await store.acked(DOCK)


def key_ring(path: Path) -> KeyRingFile:
    file = KeyRingFile(path, random_bytes=os.urandom)
    file.create(now_ms=1)
    return file


async def test_everything_goes_along_both_ways(tmp_path: Path, mongo_set: MongoSet) -> None:
    url, home, back = mongo_set.url(), tmp_path / "home", tmp_path / "back"
    home.mkdir()
    ring = key_ring(home / KEY_RING_NAME)
    embedded = await SqliteStore.open(home / DATABASE_NAME, ring=ring.load())
    await fill(embedded)
    before = await seen(embedded)
    assert await embedded.files.create(upload("a"), ROOMY) is None
    await embedded.aclose()

    wrong = key_ring(tmp_path / "other.keys")
    status, said = await asyncio.to_thread(migrate, home, url, "--keys", wrong.path)
    assert (status, "not in the key ring" in said) == (1, True), said
    status, said = await asyncio.to_thread(migrate, home, url)
    assert status == 0, said
    assert f"3 conversations, {sum(map(len, before[1]))} events" in said
    assert "1 files, 1 of them unfinished" in said
    assert f"need the key ring with {ring.load().current}" in said
    store: Store = await MongoStore.open(url, keys=ring)
    assert await seen(store) == before
    await store.register(robot("r3"), enrolment=enrolment("t3"))
    with pytest.raises(Exception, match="used before"):
        await store.register(robot("r4"), enrolment=enrolment("t1"))
    await store.append([event("later")])
    after = await seen(store)
    await store.aclose()

    status, said = await asyncio.to_thread(migrate, url, back, "--keys", ring.path)
    assert status == 0, said
    store = await SqliteStore.open(back / DATABASE_NAME, ring=ring.load())
    assert await seen(store) == after
    for token in ("t1", "t3"):
        with pytest.raises(Exception, match="used before"):
            await store.register(robot("r4"), enrolment=enrolment(token))
    await store.append([event("last")])
    await store.aclose()

    refused = [
        await asyncio.to_thread(migrate, home, url),
        await asyncio.to_thread(migrate, url, back),
    ]
    assert [status for status, _ in refused] == [1, 1]
    assert "not empty" in refused[0][1] and "holds a store already" in refused[1][1]


async def test_a_move_that_broke_off_is_no_store(
    tmp_path: Path, mongo_set: MongoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imserver.core.errors import StoreUnavailable  # noqa: PLC0415
    from imserver.data.mongo.moving import MongoRows  # noqa: PLC0415

    url = mongo_set.url()
    broken = await MongoRows.target(url, now_ms=1)
    await broken.put("robots", [("r1", None, 1, None)])
    await broken.aclose()
    with pytest.raises(StoreUnavailable, match="broke off"):
        await MongoStore.open(url)


def test_two_of_a_kind_are_refused(tmp_path: Path) -> None:
    status, said = migrate(tmp_path, tmp_path / "other")
    assert status == 2
    assert "mongodb://" in said
