"""The store on MongoDB keeps the contract, on a replica set of one member."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pymongo import MongoClient

from imserver.data.mongo.files import MongoContent
from imserver.data.mongo.reader import Reader
from imserver.data.mongo.store import MongoStore
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName
from tests.contract.damage_contract import DamageContract, Lose
from tests.contract.file_contract import FileContract, Place
from tests.contract.loss_contract import Fill
from tests.contract.records import EVERYTHING, LINE, events, seqs, store_all
from tests.contract.store_contract import StoreContract, any_calls
from tests.mongo_server import MongoSet


class TestMongoStore(DamageContract, StoreContract):
    servers: MongoSet

    @pytest.fixture(autouse=True)
    def _servers(self, mongo_set: MongoSet) -> None:
        type(self).servers = mongo_set

    @pytest.fixture
    async def store(self) -> AsyncIterator[MongoStore]:
        async with self.fresh_store() as store:
            yield store

    @pytest.fixture
    def lose(self) -> Lose:
        def lose(conv: ConversationName, first: int, last: int) -> None:
            with MongoClient[Any](self.servers.url("contract")) as client:
                wanted = {"_id.c": conv, "_id.s": {"$gte": first, "$lte": last}}
                client.get_default_database().events.delete_many(wanted)

        return lose

    async def test_what_comes_while_a_page_is_read_leaves_no_hole_before_it(
        self, store: MongoStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store_all(store, events(9, LINE))
        read = Reader._page

        async def read_and_go_on(*args: Any) -> list[Event]:
            page = await read(*args)
            await store_all(store, events(9, LINE, prefix="later"))
            return page

        monkeypatch.setattr(Reader, "_page", read_and_go_on)
        page = await store.read_before(LINE, 12, limit=3, bytes_max=EVERYTHING)
        assert seqs(page) == [7, 8, 9]

    @classmethod
    @asynccontextmanager
    async def fresh_store(cls, mark: Path | None = None) -> AsyncIterator[MongoStore]:
        url = cls.servers.url("contract")
        cls.servers.empty(url)
        store = await MongoStore.open(url, mark=mark)
        try:
            yield store
        finally:
            await store.aclose()

    @settings(max_examples=25, suppress_health_check=[HealthCheck.differing_executors])
    @given(calls=any_calls)
    def test_any_calls_end_as_in_the_model(self, calls) -> None:
        self.compare_with_model(calls)

    @classmethod
    @asynccontextmanager
    async def doubtful_store(cls, fill: Fill) -> AsyncIterator[MongoStore]:
        with tempfile.TemporaryDirectory() as folder:
            mark = Path(folder) / "mark"
            async with cls.fresh_store(mark) as before:
                await fill(before)
            url = cls.servers.url("contract")
            with MongoClient[Any](url) as client:  # as a backup from before that start has it
                client.get_default_database().meta.update_one({"_id": "pulse"}, {"$set": {"n": 0}})
            store = await MongoStore.open(url, mark=mark)
            try:
                yield store
            finally:
                await store.aclose()


class TestMongoFiles(FileContract):
    @pytest.fixture
    async def place(self, mongo_set: MongoSet) -> AsyncIterator[Place]:
        url = mongo_set.url("contract")
        mongo_set.empty(url)
        store = await MongoStore.open(url)
        yield Place(store, store.files, store.content)
        await store.aclose()

    @pytest.fixture
    async def full(self, mongo_set: MongoSet, place: Place) -> AsyncIterator[MongoContent]:
        """A set whose disk is full, as it tells that."""
        out_of_space = {"errorCode": 14031, "namespace": "contract.segments"}
        mongo_set.fail(["update"], times=1_000, **out_of_space)
        assert isinstance(place.content, MongoContent)
        yield place.content
        mongo_set.fail(["update"], times=0)
