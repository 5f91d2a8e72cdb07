"""The engines for files keep the contract, and files on a disk survive what only these can suffer."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from imserver.core.errors import StoreCorrupt
from imserver.core.files import BlobId
from imserver.data.disk.content import SLOT_BYTES, DiskContent, blob_path
from imserver.data.memory.files import MemoryContent
from imserver.data.memory.store import MemoryStore
from imserver.data.sqlite.store import SqliteStore
from tests.contract.file_contract import FileContract, Place

MORE_THAN_ANY_DISK = 2**60
BLOB = BlobId("blob-0001")


class TestMemoryFiles(FileContract):
    @pytest.fixture
    def place(self) -> Place:
        store = MemoryStore()
        return Place(store, store.files, MemoryContent())

    @pytest.fixture
    def full(self) -> MemoryContent:
        return MemoryContent(bytes_max=1_000)


class TestSqliteAndDisk(FileContract):
    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[Place]:
        store = await SqliteStore.open(tmp_path / "store.db", durability="os")
        content = DiskContent(tmp_path / "files", free_bytes_min=0, on_failure=pytest.fail)
        await content.start()
        yield Place(store, store.files, content)
        await content.aclose()
        await store.aclose()

    @pytest.fixture
    async def full(self, tmp_path: Path) -> AsyncIterator[DiskContent]:
        content = DiskContent(
            tmp_path / "full", free_bytes_min=MORE_THAN_ANY_DISK, on_failure=pytest.fail
        )
        await content.start()
        yield content
        await content.aclose()

    @pytest.mark.parametrize("place_of_damage", [5, 100, SLOT_BYTES + 3])
    async def test_a_damaged_segment_is_not_taken_for_what_was_put(
        self, place: Place, tmp_path: Path, place_of_damage: int
    ) -> None:
        for index in range(2):
            await place.content.put(BLOB, index, b"a segment of more than a hundred bytes" * 5)
        path = blob_path(tmp_path / "files", BLOB)
        raw = bytearray(path.read_bytes())
        raw[place_of_damage] ^= 1
        path.write_bytes(raw)
        with pytest.raises(StoreCorrupt, match="damaged"):
            await place.content.get(BLOB, place_of_damage // SLOT_BYTES)
        assert await place.content.get(BLOB, 1 - place_of_damage // SLOT_BYTES)

    async def test_a_segment_that_was_cut_off_is_not_taken_for_what_was_put(
        self, place: Place, tmp_path: Path
    ) -> None:
        await place.content.put(BLOB, 0, b"a segment")
        path = blob_path(tmp_path / "files", BLOB)
        for size in (12, 5):
            with path.open("r+b") as file:
                file.truncate(size)
            with pytest.raises(StoreCorrupt, match="damaged"):
                await place.content.get(BLOB, 0)

    @pytest.mark.parametrize(
        "name", ["../../etc/passwd", "a/b/c/d/e/f", "..", "", "x" * 65, "ab\0cdefg"]
    )
    async def test_no_name_leads_out_of_the_folder(self, place: Place, name: str) -> None:
        with pytest.raises(ValueError, match="no name of a blob"):
            await place.content.put(BlobId(name), 0, b"x")
        with pytest.raises(ValueError, match="no name of a blob"):
            await place.content.get(BlobId(name), 0)
