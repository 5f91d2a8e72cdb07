"""Sealed files keep the contract, show nothing where they are kept, and survive a change of keys."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from imserver.core.errors import KeyRingUnusable, SealBroken, StoreCorrupt, StoreUnavailable
from imserver.core.key_ring import KeyRing, SealingKey
from imserver.data import sealed_files
from imserver.data.disk.content import DiskContent, blob_path
from imserver.data.sealed_files import FileKey, SealedCatalog, SealedContent
from imserver.data.sqlite.keys import count_uses, keys_required, unseal
from imserver.data.sqlite.store import SqliteStore
from tests.contract.file_contract import ROOMY, ContentContract, Place, upload

MARK = b"a marked text that must not be readable anywhere"
OLD, NEW = SealingKey(b"1" * 32), SealingKey(b"2" * 32)


def ring(*keys: SealingKey) -> KeyRing:
    return KeyRing(keys, keys[-1].id, random_bytes=os.urandom)


class Sealed:
    """A store whose files are sealed."""

    def __init__(self, folder: Path, keys: KeyRing | None) -> None:
        self.folder = folder
        self.keys = keys

    async def __aenter__(self) -> "Sealed":
        self.store = await SqliteStore.open(self.folder / "store.db", ring=self.keys)
        self.plain = DiskContent(self.folder / "files", free_bytes_min=0, on_failure=pytest.fail)
        await self.plain.start()
        self.key = FileKey(self.store.files, self.keys)
        self.catalog = SealedCatalog(self.store.files, self.key)
        self.content = SealedContent(self.plain, self.key)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.plain.aclose()
        await self.store.aclose()


class TestSealedContent(ContentContract):
    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[Place]:
        async with Sealed(tmp_path, ring(OLD)) as sealed:
            yield Place(sealed.store, sealed.store.files, sealed.content)

    @pytest.fixture
    async def full(self, tmp_path: Path) -> AsyncIterator[SealedContent]:
        content = DiskContent(tmp_path / "full", free_bytes_min=2**60, on_failure=pytest.fail)
        await content.start()
        async with Sealed(tmp_path, ring(OLD)) as sealed:
            yield SealedContent(content, sealed.key)
        await content.aclose()


async def test_nothing_of_a_file_or_its_name_is_readable_where_it_is_kept(tmp_path: Path):
    async with Sealed(tmp_path, ring(OLD)) as sealed:
        blob = sealed.content.name("a-token-of-a-blob")
        await sealed.content.put(blob, 0, MARK)
        file = structs.replace(upload("a"), metadata=MARK)
        await sealed.catalog.create(file, ROOMY)
        found = await sealed.catalog.find(file.id)
        assert found is not None
        assert found.metadata == MARK
        assert await sealed.catalog.owned(file.owner, after="", limit=9) == [file]
        assert await sealed.content.get(blob, 0) == MARK
    kept = kept_in(tmp_path)
    assert len(kept) > 2
    assert not any(MARK in part for part in kept)


def kept_in(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def test_a_segment_that_was_moved_does_not_open(tmp_path: Path):
    async with Sealed(tmp_path, ring(OLD)) as sealed:
        one, other = (sealed.content.name(f"token-of-blob-{n}") for n in range(2))
        await sealed.content.put(one, 0, b"one")
        await sealed.content.put(other, 0, b"other")
        blob_path(tmp_path / "files", other).write_bytes(
            blob_path(tmp_path / "files", one).read_bytes()
        )
        with pytest.raises(StoreCorrupt, match="seal"):
            await sealed.content.get(other, 0)


async def test_files_are_readable_after_the_old_key_is_gone(tmp_path: Path):
    keys = ring(OLD)
    async with Sealed(tmp_path, keys) as sealed:
        blob = sealed.content.name("a-token-of-a-blob")
        await sealed.content.put(blob, 0, MARK)
        assert count_uses(tmp_path / "store.db").keys == {OLD.id: 1}
        keys.renew([OLD, NEW], NEW.id)
        await sealed.key.rewrap()
        assert count_uses(tmp_path / "store.db").keys == {NEW.id: 1}
    async with Sealed(tmp_path, ring(OLD, NEW)) as sealed:
        running = asyncio.create_task(sealed.store.sealing.run())
        while keys_required(tmp_path / "store.db") != {NEW.id}:
            await asyncio.sleep(0.01)
        running.cancel()
    async with Sealed(tmp_path, ring(NEW)) as sealed:
        await sealed.key.load()
        assert await sealed.content.get(blob, 0) == MARK


async def test_what_was_there_before_stays_readable(tmp_path: Path):
    async with Sealed(tmp_path, None) as plain:
        blob = plain.content.name("a-token-of-a-blob")
        await plain.content.put(blob, 0, b"from before")
        await plain.catalog.create(upload("a"), ROOMY)
    async with Sealed(tmp_path, ring(OLD)) as sealed:
        assert await sealed.content.get(blob, 0) == b"from before"
        assert await sealed.catalog.find(upload("a").id) == upload("a")


async def test_sealed_files_are_not_served_without_their_key(tmp_path: Path):
    async with Sealed(tmp_path, ring(OLD)) as sealed:
        blob = sealed.content.name("a-token-of-a-blob")
        await sealed.content.put(blob, 0, MARK)
        without = FileKey(sealed.store.files, None)
        with pytest.raises(SealBroken, match=r"sealing\.enabled"):
            await without.load()
        with pytest.raises(SealBroken):
            await SealedContent(sealed.plain, without).get(blob, 0)


async def test_bodies_are_not_unsealed_beside_files_that_would_stay_sealed(tmp_path: Path):
    path = tmp_path / "store.db"
    async with Sealed(tmp_path, ring(OLD)) as sealed:
        await sealed.catalog.create(upload("a"), ROOMY)
    with pytest.raises(KeyRingUnusable, match="1 files in this store are sealed"):
        unseal(path, ring(OLD))
    assert keys_required(path) == {OLD.id}
    async with Sealed(tmp_path, ring(OLD)) as sealed:
        await sealed.key.load()
        await sealed.catalog.remove(upload("a").id)
    unseal(path, ring(OLD))
    async with Sealed(tmp_path, None) as plain:
        await plain.key.load()
    assert keys_required(path) == set()


async def test_a_store_that_takes_nothing_now_puts_the_new_wrapping_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sealed_files, "_REWRAP_S", 0)
    monkeypatch.setattr(sealed_files, "_PUT_OFF_S", 0)
    keys = ring(OLD)
    async with Sealed(tmp_path, keys) as sealed:
        await sealed.key.ring()
        keys.renew([OLD, NEW], NEW.id)
        put, refused = sealed.store.files.put_wrapped_file_key, 0

        async def full(wrapped: bytes, *, first: bool) -> bytes:
            nonlocal refused
            if refused < 3:
                refused += 1
                raise StoreUnavailable("the disk is full")
            return await put(wrapped, first=first)

        monkeypatch.setattr(sealed.store.files, "put_wrapped_file_key", full)
        running = asyncio.create_task(sealed.key.run())
        while count_uses(tmp_path / "store.db").keys != {NEW.id: 1}:
            assert not running.done()
            await asyncio.sleep(0.01)
        running.cancel()
    assert refused == 3
