"""The embedded store keeps the contract, and survives what only a file can suffer."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from imserver.data.sqlite import SqliteStore
from tests.contract.loss_contract import Fill
from tests.contract.records import DOCK, YARD, created
from tests.contract.store_contract import StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = await SqliteStore.open(tmp_path / "store.db")
        yield store
        await store.aclose()

    @staticmethod
    @asynccontextmanager
    async def fresh_store() -> AsyncIterator[SqliteStore]:
        with tempfile.TemporaryDirectory() as folder:
            store = await SqliteStore.open(Path(folder) / "store.db", durability="os")
            yield store
            await store.aclose()

    @staticmethod
    @asynccontextmanager
    async def doubtful_store(fill: Fill) -> AsyncIterator[SqliteStore]:
        with tempfile.TemporaryDirectory() as folder:
            living, dead = Path(folder) / "living", Path(folder) / "dead"
            living.mkdir()
            before = await SqliteStore.open(living / "store.db")
            await fill(before)
            shutil.copytree(living, dead)  # what kill -9 leaves
            await before.aclose()
            store = await SqliteStore.open(dead / "store.db")
            yield store
            await store.aclose()

    async def test_a_store_with_halted_conversations_says_so_when_it_is_opened(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        living, dead, again = (tmp_path / name for name in ("living", "dead", "again"))
        living.mkdir()
        before = await SqliteStore.open(living / "store.db")
        await before.append([created(DOCK), created(YARD)], [])
        shutil.copytree(living, dead)  # what kill -9 leaves
        await before.aclose()
        doubtful = await SqliteStore.open(dead / "store.db")
        assert await doubtful.note_loss(DOCK, 9)
        shutil.copytree(dead, again)
        await doubtful.aclose()
        assert "store.halted" not in caplog.messages
        await (await SqliteStore.open(again / "store.db")).aclose()
        [told] = [record for record in caplog.records if record.getMessage() == "store.halted"]
        assert told.__dict__["conversations"] == 1
