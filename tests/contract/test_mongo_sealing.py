"""A store in MongoDB that is sealed: the contract holds, nothing can be read on the disks of its servers, nor
moved unnoticed, and keys change under nodes that serve it together."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pymongo import MongoClient

from imserver.core.errors import (
    KeyRingUnusable,
    SealBroken,
    SealingKeyMissing,
    StoreUnavailable,
)
from imserver.core.key_ring import KeyId
from imserver.core.model import Mismatch, Stored
from imserver.data.key_ring_file import KeyRingFile
from imserver.data.mongo import keys as mongo_keys
from imserver.data.mongo import nodes as nodes_of_store
from imserver.data.mongo import sealing
from imserver.data.mongo.check import check
from imserver.data.mongo.store import MongoStore
from imserver.data.sealed_files import FileKey, SealedCatalog, SealedContent
from tests.contract.event_log_contract import EventLogContract
from tests.contract.file_contract import ROOMY, upload
from tests.contract.records import (
    DOCK,
    EVERYTHING,
    R2,
    created,
    event,
    store_all,
    whole_log,
)
from tests.contract.resealing import resealing
from tests.contract.retention_contract import RetentionContract
from tests.mongo_server import MongoSet
from tests.until import PATIENCE_S, until

MARK = b"a marked text that must not be readable anywhere"
COUNT = 300


@pytest.fixture
def url(mongo_set: MongoSet) -> str:
    url = mongo_set.url("sealing")
    mongo_set.empty(url)
    return url


@pytest.fixture
def ring(tmp_path: Path) -> KeyRingFile:
    file = KeyRingFile(tmp_path / "sealing.keys", random_bytes=os.urandom)
    file.create(now_ms=1)
    return file


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(sealing, "_REST", 0.0)


class Nodes:
    """Nodes that serve one store, each doing what its process has it do."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Nodes":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stack.aclose()

    async def open(self, keys: KeyRingFile | None, *, busy: bool = True) -> MongoStore:
        """Open a node's store; ``busy``: with what runs beside it."""
        store = await MongoStore.open(self._url, keys=keys)
        self._stack.push_async_callback(store.aclose)
        if busy:
            await self._stack.enter_async_context(resealing(store))
        return store


def meta(url: str, name: str = "sealing") -> dict[str, Any]:
    with MongoClient[Any](url) as client:
        return client.get_default_database().meta.find_one({"_id": name}) or {}


def words(url: str) -> list[str]:
    return list(meta(url).get("words", ()))


def current(store: MongoStore) -> str:
    assert store.ring is not None
    return store.ring.current


def marked(number: int) -> Any:
    return event(f"c{number}", body=b"\xd9" + bytes([len(MARK) + 6]) + MARK + b"%06d" % number)


async def fill(store: MongoStore, count: int = COUNT) -> None:
    await store.append([created()])
    await store_all(store, [marked(number) for number in range(count)])


async def assert_whole(store: MongoStore, count: int = COUNT) -> None:
    found = [bytes(entry.body) for entry in await whole_log(store)][1:]
    assert found == [bytes(marked(number).body) for number in range(count)]


async def flaws(url: str, ring: KeyRingFile) -> dict[str, tuple[str, ...]]:
    """Return what a check finds, but for members that these tests do not register."""
    findings = (await check(url, ring.load())).findings
    return {f.rule: f.witnesses for f in findings if f.rule != "unregistered_member"}


class TestSealedMongoStore(EventLogContract, RetentionContract):
    @pytest.fixture
    async def store(self, url: str, ring: KeyRingFile) -> AsyncIterator[MongoStore]:
        async with Nodes(url) as nodes:
            yield await nodes.open(ring, busy=False)


@pytest.fixture(scope="module")
def own_set() -> Iterator[MongoSet]:
    servers = MongoSet().start()
    yield servers
    servers.stop()


async def sealed_file(store: MongoStore) -> None:
    key = FileKey(store.file_key, store.ring)
    content = SealedContent(store.content, key)
    blob = content.name("a-token-of-a-blob")
    file = structs.replace(upload("a"), blob=blob, metadata=MARK, size=len(MARK))
    await SealedCatalog(store.files, key).create(file, ROOMY)
    await content.put(blob, 0, MARK)
    assert await content.get(blob, 0) == MARK


@pytest.mark.process
async def test_nothing_of_bodies_and_files_is_readable_in_what_mongod_keeps(
    own_set: MongoSet, ring: KeyRingFile
) -> None:
    async with Nodes(own_set.url("sealed")) as nodes:
        store = await nodes.open(ring)
        await fill(store)
        await sealed_file(store)
        await assert_whole(store)
        assert marks_in(own_set.folder) == []
    own_set.stop_member(0)
    assert marks_in(own_set.folder) == []
    own_set.start_member(0)
    own_set.wait_for_primary()
    async with Nodes(own_set.url("plain")) as nodes:
        await fill(await nodes.open(None))
    assert marks_in(own_set.folder) != [], "the search finds what is not sealed"


def marks_in(folder: Path) -> list[Path]:
    """Return the files of a server in which a mark is readable, its journal and its log among them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any("journal" in path.parts for path in files)
    return [path for path in files if MARK in path.read_bytes()]


async def test_nodes_with_the_same_ring_read_what_the_others_wrote(
    url: str, ring: KeyRingFile
) -> None:
    async with Nodes(url) as nodes:
        one, other = await nodes.open(ring), await nodes.open(ring)
        await fill(one, 20)
        await assert_whole(other, 20)
        [again, new] = await other.append([marked(3), marked(20)])
        assert isinstance(again, Stored) and again.dup and not isinstance(new, Mismatch)
        other_body = structs.replace(marked(4), body=b"\x01")
        assert isinstance((await other.append([other_body]))[0], Mismatch)
        assert words(url) == [current(one)]


async def test_a_new_key_spreads_over_nodes_that_are_told_one_after_the_other(
    url: str, ring: KeyRingFile, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with Nodes(url) as nodes:
        one, other = await nodes.open(ring), await nodes.open(ring)
        await fill(one)
        old = current(one)
        new = ring.rotate(now_ms=2)
        one.sealing.renew(ring)
        await until(lambda: current(one) == new)
        await store_all(one, [marked(COUNT)])
        await assert_whole(other, COUNT + 1)  # it reads its ring again, and seals as before
        assert current(other) == old
        await store_all(other, [marked(COUNT + 1)])
        await until(lambda: "sealing.waits_for_nodes" in caplog.messages)
        with pytest.raises(KeyRingUnusable, match="bodies are sealed with it"):
            await mongo_keys.remove_key(url, ring, KeyId(old))
        other.sealing.renew(ring)
        await until(lambda: words(url) == [new])
        assert (await mongo_keys.count(url)).keys == {new: COUNT + 3}
        await mongo_keys.remove_key(url, ring, KeyId(old))
        await assert_whole(one, COUNT + 2)
        await assert_whole(other, COUNT + 2)
    async with Nodes(url) as nodes:
        await assert_whole(await nodes.open(ring), COUNT + 2)
    assert await flaws(url, ring) == {}


async def test_a_node_that_cannot_read_its_ring_again_tells_readers_and_goes_on(
    url: str, ring: KeyRingFile, tmp_path: Path
) -> None:
    async with Nodes(url) as nodes:
        one = await nodes.open(ring)
        await fill(one, 3)
        others = KeyRingFile(tmp_path / "others.keys", random_bytes=os.urandom)
        shutil.copy(ring.path, others.path)
        new = others.rotate(now_ms=2)
        other = await nodes.open(others)
        await store_all(other, [marked(3)])
        await until(lambda: new in one._bodies.words)
        kept = ring.path.rename(tmp_path / "mislaid")
        with pytest.raises(StoreUnavailable, match=f"key {new}, which was not found in"):
            await whole_log(one)
        await store_all(one, [marked(4)])
        shutil.copy(others.path, kept.rename(ring.path))
        one._bodies._read_s = float("-inf")
        await assert_whole(one, 5)


async def test_a_key_that_another_node_has_just_begun_to_use_is_lacked_and_no_damage(
    url: str, ring: KeyRingFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Nodes(url) as nodes:
        one = await nodes.open(ring, busy=False)
        await fill(one, 3)
        others = KeyRingFile(tmp_path / "others.keys", random_bytes=os.urandom)
        shutil.copy(ring.path, others.path)
        new = others.rotate(now_ms=2)
        await store_all(await nodes.open(others, busy=False), [marked(3)])
        with pytest.raises(StoreUnavailable, match=f"key {new}, which was not found in"):
            await whole_log(one)
        assert "sealing.broken" not in caplog.text
        shutil.copy(others.path, ring.path)
        one._bodies._read_s = float("-inf")
        await assert_whole(one, 4)


async def test_a_key_that_the_store_does_not_know_is_damage(url: str, ring: KeyRingFile) -> None:
    async with Nodes(url) as nodes:
        store = await nodes.open(ring)
        await fill(store, 3)
        with MongoClient[Any](url) as client:
            events = client.get_default_database().events
            other = {"sealed": 1, "body": (1).to_bytes(4, "big") + bytes(80)}
            events.update_one({"cid": "c1"}, {"$set": other})
        with pytest.raises(StoreUnavailable):
            await store.read_one(DOCK, 3)  # it may be new
        with pytest.raises(SealBroken, match="the body of g/dock 3"):
            await _once_it_is_known(store)


async def _once_it_is_known(store: MongoStore) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(StoreUnavailable):
                await store.read_one(DOCK, 3)
            await asyncio.sleep(0.01)


async def test_a_key_that_a_node_may_still_seal_with_is_not_removed(
    url: str, ring: KeyRingFile
) -> None:
    async with Nodes(url) as nodes:
        store = await nodes.open(ring, busy=False)
        old, _ = current(store), ring.rotate(now_ms=2)
        with pytest.raises(KeyRingUnusable, match="may still seal with it"):
            await mongo_keys.remove_key(url, ring, KeyId(old))
    with pytest.raises(KeyRingUnusable, match="have not gone"):
        await mongo_keys.remove_key(url, ring, KeyId(old))


async def test_a_pass_goes_on_where_a_dead_node_left_it(
    url: str, ring: KeyRingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "_STEP_ROWS", 40)
    async with Nodes(url) as nodes:
        first = await nodes.open(ring, busy=False)
        await fill(first)
        new = ring.rotate(now_ms=2)
        monkeypatch.setattr(nodes_of_store, "LEASE_S", 1)
        steps = 0
        step = first.sealing._step

        async def some(*given: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > 3:
                await asyncio.Event().wait()  # it dies here
            return await step(*given)

        monkeypatch.setattr(first.sealing, "_step", some)
        async with resealing(first):
            first.sealing.renew(ring)
            await until(lambda: steps > 3)
        place = meta(url)["under_way"]["at"]
        assert place["s"] == 120
        looked_at: list[int] = []
        second = await nodes.open(ring, busy=False)
        anew = second.sealing._anew

        def noted(row: Any, broken: set[str]) -> Any:
            looked_at.append(row["_id"]["s"])
            return anew(row, broken)

        monkeypatch.setattr(second.sealing, "_anew", noted)
        async with resealing(second):
            await until(lambda: words(url) == [new])
        assert min(looked_at) == 121
        await assert_whole(second)


async def test_plain_bodies_of_before_are_sealed_and_then_none_is_taken(
    url: str, ring: KeyRingFile
) -> None:
    async with Nodes(url) as nodes:
        await fill(await nodes.open(None))
    assert words(url) == ["plain"]
    async with Nodes(url) as nodes:
        store = await nodes.open(ring)
        await assert_whole(store)
        await until(lambda: words(url) == [current(store)])
        await assert_whole(store)
        with MongoClient[Any](url) as client:
            events = client.get_default_database().events
            assert events.count_documents({"sealed": {"$exists": False}}) == 0
            events.update_one({"cid": "c7"}, {"$set": {"body": b"\x01"}, "$unset": {"sealed": ""}})
        with pytest.raises(SealBroken, match="the body of g/dock 9"):
            await whole_log(store)
    assert await flaws(url, ring) == {"not_sealed": ("g/dock: 9",)}


async def test_nodes_that_seal_and_nodes_that_do_not_are_kept_apart(
    url: str, ring: KeyRingFile, tmp_path: Path
) -> None:
    async with Nodes(url) as nodes:
        await nodes.open(None)
        with pytest.raises(KeyRingUnusable, match="without sealing"):
            await MongoStore.open(url, keys=ring)
    async with Nodes(url) as nodes:
        await fill(await nodes.open(ring), 3)
        with pytest.raises(KeyRingUnusable, match="sealing is off"):
            await MongoStore.open(url)
    with pytest.raises(KeyRingUnusable, match="sealing is off"):
        await MongoStore.open(url)
    other = KeyRingFile(tmp_path / "other.keys", random_bytes=os.urandom)
    other.create(now_ms=1)
    with pytest.raises(SealingKeyMissing, match="put back the ring"):
        await MongoStore.open(url, keys=other)


async def test_a_node_that_slept_through_a_change_of_keys_brings_its_key_back(
    url: str, ring: KeyRingFile
) -> None:
    async with Nodes(url) as nodes:
        asleep, awake = [await nodes.open(ring, busy=False) for _ in range(2)]
        await fill(asleep, 10)
        old, new = current(asleep), ring.rotate(now_ms=2)
        await asleep.leases.end()
        async with resealing(awake):
            awake.sealing.renew(ring)
            await until(lambda: words(url) == [new])
        await store_all(asleep, [marked(10)])
        assert sorted(words(url)) == sorted([old, new])
        await assert_whole(awake, 11)
        asleep.sealing.renew(ring)
        async with resealing(asleep), resealing(awake):
            await until(lambda: words(url) == [new])
        await assert_whole(asleep, 11)


async def test_a_node_that_does_not_seal_acks_nothing_once_the_others_do(
    url: str, ring: KeyRingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Nodes(url) as nodes:
        asleep = await nodes.open(None, busy=False)
        await fill(asleep, 3)
        await asleep.leases.end()
        awake = await nodes.open(ring)
        await until(lambda: words(url) == [current(awake)])
        monkeypatch.setattr("imserver.data.mongo.append.WRITE_TIMEOUT_S", 0.2)
        with suppress(StoreUnavailable):
            [outcome] = await asleep.append([marked(3)])
            assert not isinstance(outcome, Stored)
        await until(lambda: words(url) == [current(awake)])
        await assert_whole(awake, 4)


FORGERIES: dict[str, dict[str, Any]] = {
    "another sender": {"sender": R2},
    "another cid": {"cid": "c10x"},
    "another kind": {"kind": "redact"},
    "another time": {"ts": 77},
    "another ref": {"ref": 1},
    "other bytes": {"body": b"\0" * 80},
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_what_somebody_did_to_an_event_is_refused_by_name(
    url: str, ring: KeyRingFile, forgery: str
) -> None:
    async with Nodes(url) as nodes:
        store = await nodes.open(ring, busy=False)
        await fill(store, 20)
        with MongoClient[Any](url) as client:
            change = {"$set": FORGERIES[forgery]}
            client.get_default_database().events.update_one({"cid": "c10"}, change)
        with pytest.raises(SealBroken, match="the body of g/dock 12"):
            await store.read_after(DOCK, 0, limit=12, bytes_max=EVERYTHING)
        assert len(await store.read_after(DOCK, 12, limit=9, bytes_max=EVERYTHING)) == 9
        again, new = await store.append([marked(10), marked(20)])
        assert isinstance(new, Stored) and not (isinstance(again, Stored) and again.dup)
    assert await flaws(url, ring) == {"broken_seal": ("g/dock: 12",)}


async def test_nodes_that_seal_the_first_file_at_once_have_one_key(
    url: str, ring: KeyRingFile
) -> None:
    async with Nodes(url) as nodes:
        stores = [await nodes.open(ring, busy=False) for _ in range(3)]
        keys = [FileKey(store.file_key, store.ring) for store in stores]
        async with asyncio.TaskGroup() as group:
            rings = [group.create_task(key.ring()) for key in keys]
        assert len({ring.result().current for ring in rings}) == 1
        new = ring.rotate(now_ms=2)
        keys[0]._ring.learn(ring.load())  # type: ignore[union-attr]
        stores[0].sealing.renew(ring)
        async with resealing(stores[0]):
            await until(lambda: current(stores[0]) == new)
        await keys[0].rewrap()
        assert (await mongo_keys.count(url)).keys == {new: 1}
        opened = FileKey(stores[1].file_key, ring.load())
        await opened.load()
        assert (await opened.ring()).current == rings[0].result().current
