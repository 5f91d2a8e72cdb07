"""Every engine of the store, through any sequence of calls and, if it keeps anything, of ends and kills."""

import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, settings

from imserver.data.memory.store import MemoryStore
from imserver.data.sqlite.store import SqliteStore
from imserver.data.store import Store
from tests.contract.store_machine import Machine


class InMemory:
    """The store in memory, which has one life."""

    can_end: ClassVar[bool] = False

    async def open(self) -> Store:
        return MemoryStore()

    async def end(self, store: Store) -> None:
        raise AssertionError("it has one life")

    async def die(self, store: Store) -> None:
        raise AssertionError("it has one life")

    def remove(self) -> None:
        """Have nothing to remove."""


class OnDisk:
    """The embedded store. What a kill leaves is a copy of its files, taken while it is open."""

    can_end: ClassVar[bool] = True

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="store-machine-"))
        self._lives = 0
        self._home.mkdir()

    @property
    def _home(self) -> Path:
        return self._root / str(self._lives)

    async def open(self) -> Store:
        return await SqliteStore.open(self._home / "store.db", durability="os")

    async def end(self, store: Store) -> None:
        await store.aclose()

    async def die(self, store: Store) -> None:
        dead = self._home
        self._lives += 1
        shutil.copytree(dead, self._home)
        await store.aclose()
        shutil.rmtree(dead)

    def remove(self) -> None:
        shutil.rmtree(self._root)


class MemoryMachine(Machine):
    engine = InMemory


class SqliteMachine(Machine):
    engine = OnDisk


SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]
TestMemoryStore = MemoryMachine.TestCase
TestMemoryStore.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=SLOW
)
TestSqliteStore = SqliteMachine.TestCase
TestSqliteStore.settings = settings(
    max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=SLOW
)
