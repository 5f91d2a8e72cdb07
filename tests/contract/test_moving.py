"""A deployment that moves from one engine to another, with its files and seals; the command is tested from
outside in `tests.e2e.test_migrate`."""

import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pymongo import MongoClient

from imserver.core.errors import SealingKeyMissing, StoreCorrupt, StoreUnavailable
from imserver.core.files import SEGMENT_BYTES, FileRecord, thumbnail_of
from imserver.core.key_ring import KeyRing, SealingKey
from imserver.core.sealing_settings import SealingSettings
from imserver.core.settings import Settings, StoreSettings
from imserver.data.directory import DataDirectory
from imserver.data.disk.content import SLOT_BYTES, blob_path
from imserver.data.key_ring_file import KeyRingFile
from imserver.data.mongo.check import check as check_mongo
from imserver.data.mongo.moving import MongoRows
from imserver.data.moving import (
    BYTES_A_STEP,
    LogDigest,
    Moved,
    MoveFailed,
    Sealing,
    in_steps,
    move,
    require_keys,
)
from imserver.data.moving_files import MovedFiles, move_files
from imserver.data.sqlite.check import check as check_sqlite
from imserver.data.sqlite.moving import SqliteRows
from imserver.data.sqlite.wal import wal_path
from imserver.stores import OpenedStore, open_store
from tests.contract.file_contract import ROOMY, referring, upload
from tests.contract.records import DOCK, R1, R2, created, event, robot, whole_log
from tests.mongo_server import MongoSet

MARK = b"a marked text that must not be readable anywhere. "
PICTURE = MARK * 12_000
"""Three segments, the last one of them short."""
VIDEO = bytes(range(256)) * 3_000
CAME = SEGMENT_BYTES + 70_000


@pytest.fixture
def url(mongo_set: MongoSet) -> str:
    url = mongo_set.url("moving")
    mongo_set.empty(url)
    return url


@pytest.fixture
def home(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "home")


@pytest.fixture
def back(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "back")


@pytest.fixture
def ring(tmp_path: Path) -> KeyRingFile:
    file = KeyRingFile(tmp_path / "sealing.keys", random_bytes=os.urandom)
    file.create(now_ms=1)
    return file


@asynccontextmanager
async def opened(
    directory: DataDirectory, ring: KeyRingFile | None = None, *, url: str = ""
) -> AsyncIterator[OpenedStore]:
    """Open a store as a server does."""
    sealing = SealingSettings(enabled=ring is not None, keys="" if ring is None else str(ring.path))
    settings = Settings(store=StoreSettings(url=url), sealing=sealing)
    store = await open_store(settings, directory)
    try:
        yield store
    finally:
        await store.aclose()


async def send(here: OpenedStore, file: FileRecord, content: bytes, *, come: int) -> FileRecord:
    """Upload a file as far as ``come``, and finish it if that is all of it."""
    known = await here.files.catalog.find(file.id)
    if known is None:
        token = here.files.content.name(file.blob)
        assert await here.files.catalog.create(structs.replace(file, blob=token), ROOMY) is None
    claimed = await here.files.catalog.claim(file.id)
    assert claimed is not None
    for begin in range(0, come, SEGMENT_BYTES):
        part = content[begin : min(begin + SEGMENT_BYTES, come)]
        number = begin // SEGMENT_BYTES
        assert await here.files.content.put(claimed.blob, number, part, run=claimed.run)
    await here.files.content.sync(claimed.blob)
    assert await here.files.catalog.move_offset(file.id, come, expires_ms=9_000, run=claimed.run)
    if come == len(content):
        digest = hashlib.sha256(content).digest()
        done = await here.files.catalog.complete(file.id, digest, expires_ms=None, run=claimed.run)
        assert done is not None and done.digest == digest
        return done
    found = await here.files.catalog.find(file.id)
    assert found is not None
    return found


async def fill(here: OpenedStore) -> None:
    """Store a log, a shared file with a thumbnail, the same content again, and an unfinished upload."""
    for name in ("r1", "r2"):
        await here.store.ensure_robot(robot(name))
    marked = event("m", body=b"\xc4" + bytes([len(MARK)]) + MARK)
    await here.store.append([created(DOCK, members=["r2"]), marked])
    picture = await send(here, upload("a", size=len(PICTURE)), PICTURE, come=len(PICTURE))
    await here.files.content.put(thumbnail_of(picture.blob), 0, MARK)
    same = await send(here, upload("b", owner=R2, size=len(PICTURE)), PICTURE, come=len(PICTURE))
    assert same.blob == picture.blob
    await here.store.append([referring("f", picture)])
    await send(here, upload("c", size=len(VIDEO)), VIDEO, come=CAME)


async def content_of(here: OpenedStore, file: FileRecord) -> bytes:
    count = -(-file.offset // SEGMENT_BYTES)
    parts = [await here.files.content.get(file.blob, number) or b"" for number in range(count)]
    return b"".join(parts)


async def seen(here: OpenedStore) -> tuple[Any, ...]:
    """Return what a deployment's users see of it."""
    catalog = here.files.catalog
    files = [
        *await catalog.owned(R1, after="", limit=9),
        *await catalog.owned(R2, after="", limit=9),
    ]
    contents = [await content_of(here, file) for file in files]
    shared = [await catalog.shared_in(file.id, R2, after="", limit=9) for file in files]
    small = await here.files.content.get(thumbnail_of(files[0].blob), 0)
    log = [(e.seq, e.cid, e.kind, bytes(e.body)) for e in await whole_log(here.store)]
    return [structs.replace(file, run=0) for file in files], contents, shared, small, log


async def moved(
    source: SqliteRows | MongoRows, target: SqliteRows | MongoRows, ring: KeyRing | None = None
) -> tuple[Moved, MovedFiles]:
    try:
        files = await move_files(source, target, ring=ring, told=lambda _done: None)
        return await move(source, target, told=lambda _what, _done: None), files
    finally:
        await target.aclose()
        await source.aclose()


async def to_mongo(
    home: DataDirectory, url: str, ring: KeyRing | None = None
) -> tuple[Moved, MovedFiles]:
    there = await SqliteRows.source(home)
    return await moved(there, await MongoRows.target(url, now_ms=1_700_000_000_000), ring)


async def to_directory(
    url: str, back: DataDirectory, ring: KeyRing | None = None
) -> tuple[Moved, MovedFiles]:
    there = await MongoRows.source(url)
    return await moved(there, await SqliteRows.target(back), ring)


async def sealing_of(rows: SqliteRows | MongoRows) -> Sealing:
    try:
        return await rows.sealing()
    finally:
        await rows.aclose()


def blobs_at(url: str) -> list[Any]:
    with MongoClient[Any](url) as client:
        return list(client.get_default_database().blobs.find({}, {"uses": 1, "done": 1}))


def kept_in(folder: Path) -> Iterator[bytes]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


def kept_at(url: str) -> Iterator[bytes]:
    with MongoClient[Any](url) as client:
        database = client.get_default_database()
        for name in database.list_collection_names():
            for document in database[name].find():
                yield repr(document).encode()


@pytest.mark.parametrize("is_sealed", [False, True], ids=["plain", "sealed"])
async def test_files_and_seals_go_along_both_ways(
    home: DataDirectory, back: DataDirectory, url: str, ring: KeyRingFile, is_sealed: bool
) -> None:
    keys = ring if is_sealed else None
    async with opened(home, keys) as here:
        await fill(here)
        before = await seen(here)
    kept = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    there, files = await to_mongo(home, url, ring.load() if keys else None)
    assert files == MovedFiles(files=3, unfinished=1, unopened=0)
    assert {path: path.read_bytes() for path in kept} == kept
    words = ring.load().current if is_sealed else "plain"
    sealing = await sealing_of(await SqliteRows.source(home))
    assert sealing == await sealing_of(await MongoRows.source(url))
    assert sorted(sealing.words) == [words]
    assert (sealing.file_key is not None) is is_sealed
    assert {"_id": before[0][0].blob, "uses": 2, "done": True} in blobs_at(url)
    async with opened(home, keys, url=url) as here:
        assert await seen(here) == before
    again, files = await to_directory(url, back, ring.load() if keys else None)
    assert (again.digest, files.files) == (there.digest, 3)
    assert await sealing_of(await SqliteRows.source(back)) == sealing
    async with opened(back, keys) as here:
        assert await seen(here) == before
        await send(here, upload("c", size=len(VIDEO)), VIDEO, come=len(VIDEO))
    for place in (kept_in(home.path), kept_in(back.path), kept_at(url)):
        assert any(MARK in part for part in place) is not is_sealed
    assert (await check_mongo(url, ring.load() if keys else None)).findings == ()
    assert check_sqlite(back.database_path, ring.load() if keys else None).findings == ()


async def test_what_is_sealed_moves_without_its_keys_and_is_then_not_looked_into(
    home: DataDirectory, url: str, ring: KeyRingFile
) -> None:
    async with opened(home, ring) as here:
        await fill(here)
        before = await seen(here)
    _, files = await to_mongo(home, url)
    assert files.unopened == 1
    async with opened(home, ring, url=url) as here:
        assert await seen(here) == before
    with pytest.raises(Exception, match="sealing is off"):
        async with opened(home, url=url):
            pass


def test_a_ring_that_lacks_a_key_is_refused(ring: KeyRingFile) -> None:
    used = frozenset({ring.load().current})
    require_keys(Sealing(used, None), ring.load())
    require_keys(Sealing(used, None), None)
    other = SealingKey(b"1" * 32)
    wrong = KeyRing([other], other.id, random_bytes=os.urandom)
    for sealing in (Sealing(used, None), Sealing(frozenset(), ring.load().seal(b"", b""))):
        with pytest.raises(SealingKeyMissing, match=ring.load().current):
            require_keys(sealing, wrong)


@pytest.mark.parametrize("damage", ["flipped", "cut"])
async def test_a_damaged_file_ends_the_move_and_is_named(
    home: DataDirectory, url: str, damage: str
) -> None:
    async with opened(home) as here:
        await fill(here)
        picture = (await seen(here))[0][0]
    path = blob_path(home.files_path, picture.blob)
    if damage == "cut":
        os.truncate(path, 2 * SLOT_BYTES)
    else:
        content = bytearray(path.read_bytes())
        content[SLOT_BYTES + 99] ^= 1
        path.write_bytes(content)
    with pytest.raises(MoveFailed, match=f"file {picture.id} of r1 is damaged"):
        await to_mongo(home, url)
    with pytest.raises(StoreUnavailable, match="broke off"):
        async with opened(home, url=url):
            pass


async def test_a_file_whose_digest_is_another_one_ends_the_move(
    home: DataDirectory, back: DataDirectory, url: str
) -> None:
    async with opened(home, url=url) as here:
        picture = await send(here, upload("a", size=9), MARK[:9], come=9)
        await here.files.content.put(picture.blob, 0, b"123456789")
    with pytest.raises(MoveFailed, match="SHA-256 is another one"):
        await to_directory(url, back)
    assert not back.database_path.exists()


async def test_an_upload_that_a_power_cut_tore_goes_along_as_far_as_it_is_whole(
    home: DataDirectory, url: str
) -> None:
    async with opened(home) as here:
        video = await send(here, upload("c", size=len(VIDEO)), VIDEO, come=CAME)
    with blob_path(home.files_path, video.blob).open("r+b") as file:
        file.seek(SLOT_BYTES + 99)
        file.write(b"torn")
    await to_mongo(home, url)
    async with opened(home, url=url) as here:
        assert await here.files.content.get(video.blob, 0) == VIDEO[:SEGMENT_BYTES]
        assert await here.files.content.get(video.blob, 1) is None


async def test_a_content_that_has_two_blobs_has_one_in_a_directory(
    home: DataDirectory, back: DataDirectory, url: str
) -> None:
    async with opened(home, url=url) as here:
        digest = hashlib.sha256(MARK).digest()
        for name in ("a", "b"):  # nobody shares a blob that is not whole
            file = upload(name, size=len(MARK))
            assert await here.files.catalog.create(file, ROOMY) is None
            done = await here.files.catalog.complete(file.id, digest, expires_ms=None)
            assert done is not None and done.blob == file.blob
        for name in ("a", "b"):
            await here.files.content.put(upload(name).blob, 0, MARK)
    await to_directory(url, back)
    async with opened(back) as here:
        found = [await here.files.catalog.find(upload(name).id) for name in ("a", "b")]
        assert [file.blob for file in found if file] == [upload("a").blob] * 2
        assert await here.files.content.get(upload("a").blob, 0) == MARK
        assert await here.files.content.get(upload("b").blob, 0) is None


async def test_a_move_that_broke_off_begins_again_in_a_directory(
    home: DataDirectory, back: DataDirectory, url: str
) -> None:
    async with opened(home, url=url) as here:
        await fill(here)
        before = await seen(here)
    there, broken = await MongoRows.source(url), await SqliteRows.target(back)
    await move_files(there, broken, ring=None, told=lambda _done: None)
    await broken.content.put(upload("left").blob, 0, b"of the first")
    await broken.aclose()
    await there.aclose()
    await to_directory(url, back)
    async with opened(back) as here:
        assert await seen(here) == before
    assert check_sqlite(back.database_path).findings == ()
    left = {path.name for path in back.path.iterdir()}
    assert not [name for name in left if "moving" in name]


async def test_files_of_another_store_are_not_touched(back: DataDirectory) -> None:
    (back.files_path / "ab").mkdir(parents=True)
    with pytest.raises(StoreUnavailable, match="without its store"):
        await SqliteRows.target(back)
    assert (back.files_path / "ab").is_dir()


async def test_no_store_is_moved_while_a_server_has_it(home: DataDirectory, url: str) -> None:
    async with opened(home, url=url):
        with pytest.raises(StoreUnavailable, match="servers have this store open"):
            await MongoRows.source(url)
    with pytest.raises(StoreUnavailable, match="there is no store"):
        await MongoRows.source(url.replace("moving", "nowhere"))


async def test_a_store_that_lost_its_end_is_not_moved(home: DataDirectory, tmp_path: Path) -> None:
    other = DataDirectory(tmp_path / "killed")
    async with opened(home) as here:
        await fill(here)
        for path in (home.database_path, wal_path(home.database_path)):  # as a kill leaves it
            shutil.copy(path, other.path)
    log = bytearray(wal_path(other.database_path).read_bytes())
    log[32 + 24 + 99] ^= 1
    wal_path(other.database_path).write_bytes(log)
    with pytest.raises(StoreCorrupt, match="accept-loss"):
        await SqliteRows.source(other)


async def test_a_server_does_not_take_a_database_that_was_moved_to_for_one_that_was_set_back(
    home: DataDirectory, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(home):
        pass
    home.pulse_path.write_text("1000000")  # it once ran on another database
    await to_mongo(home, url)
    async with opened(home, url=url):
        pass
    assert "store.set_back" not in caplog.text


def test_a_step_is_bounded_in_bytes() -> None:
    rows = [(DOCK, number, bytes(BYTES_A_STEP // 3)) for number in range(10)]
    assert [len(step) for step in in_steps(rows)] == [4, 4, 2]
    assert [row for step in in_steps(rows) for row in step] == rows


def test_the_digest_of_logs_tells_their_bounds_and_their_order() -> None:
    def of(*rows: tuple[Any, ...]) -> str:
        digest = LogDigest()
        for row in rows:
            digest.add([row])
        return digest.digest()

    logs = [("a", 1, b"x"), ("a", 2, b"y"), ("b", 1, b"z")]
    assert of(*logs) == of(*logs)
    others = [logs[:2], [logs[1], logs[0], logs[2]], [logs[0], ("b", 2, b"y"), logs[2]]]
    assert len({of(*logs), *(of(*other) for other in others)}) == 4
