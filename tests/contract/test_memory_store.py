"""The store in memory keeps the contract."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from imserver.data.memory.store import MemoryStore
from tests.contract.loss_contract import Fill
from tests.contract.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @staticmethod
    @asynccontextmanager
    async def fresh_store() -> AsyncIterator[MemoryStore]:
        yield MemoryStore()

    @staticmethod
    @asynccontextmanager
    async def doubtful_store(fill: Fill) -> AsyncIterator[MemoryStore]:
        store = MemoryStore(in_doubt=True)
        await fill(store)
        yield store
