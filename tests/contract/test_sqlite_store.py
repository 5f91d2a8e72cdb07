"""The embedded store keeps the contract, and survives what only a file can suffer."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import apsw
import pytest

from imserver.core.key_ring import KeyRing, SealingKey
from imserver.data.sqlite.file import load_page_checksums
from imserver.data.sqlite.store import SqliteStore
from imserver.protocol.names import ConversationName
from tests.contract.damage_contract import DamageContract, Lose
from tests.contract.loss_contract import Fill
from tests.contract.records import DOCK, YARD, created
from tests.contract.store_contract import StoreContract

KEY = SealingKey(bytes(range(32)))


class OnDisk(DamageContract, StoreContract):
    """The contract on a file; ``ring`` seals what is in it."""

    ring: ClassVar[KeyRing | None] = None

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = await SqliteStore.open(tmp_path / "store.db", ring=self.ring)
        yield store
        await store.aclose()

    @pytest.fixture
    def lose(self, tmp_path: Path) -> Lose:
        def lose(conv: ConversationName, first: int, last: int) -> None:
            load_page_checksums()
            db = apsw.Connection(str(tmp_path / "store.db"))
            log = "SELECT id << 38 FROM conversations WHERE name = ?"
            gone = f"DELETE FROM events WHERE key - ({log}) BETWEEN ? AND ?"
            db.execute(gone, (conv, first, last)).fetchall()
            db.close()

        return lose

    @classmethod
    @asynccontextmanager
    async def fresh_store(cls) -> AsyncIterator[SqliteStore]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "store.db"
            store = await SqliteStore.open(path, durability="os", ring=cls.ring)
            yield store
            await store.aclose()

    @classmethod
    @asynccontextmanager
    async def doubtful_store(cls, fill: Fill) -> AsyncIterator[SqliteStore]:
        with tempfile.TemporaryDirectory() as folder:
            living, dead = Path(folder) / "living", Path(folder) / "dead"
            living.mkdir()
            before = await SqliteStore.open(living / "store.db", ring=cls.ring)
            await fill(before)
            shutil.copytree(living, dead)  # what kill -9 leaves
            await before.aclose()
            store = await SqliteStore.open(dead / "store.db", ring=cls.ring)
            yield store
            await store.aclose()


class TestSealedSqliteStore(OnDisk):
    """Sealing changes nothing of what the contract promises."""

    ring = KeyRing([KEY], KEY.id, random_bytes=os.urandom)


class TestSqliteStore(OnDisk):
    """The store as it is without sealing, and what is the file's own."""

    async def test_a_store_with_halted_conversations_says_so_when_it_is_opened(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        living, dead, again = (tmp_path / name for name in ("living", "dead", "again"))
        living.mkdir()
        before = await SqliteStore.open(living / "store.db")
        await before.append([created(DOCK), created(YARD)])
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
