"""A database that was set back to a backup is recognised until somebody has accepted what is lost."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from imserver.core.acts import Act, ActKind
from imserver.data.mongo.loss import accept_loss
from imserver.data.mongo.pulse import remembered_in
from imserver.data.mongo.store import MongoStore
from tests.contract.records import LINE, event
from tests.mongo_server import MongoSet
from tests.until import PATIENCE_S

ACT = Act("a1", 1, "boss", ActKind.LOSS_ACCEPTED)


async def is_behind(url: str, mark: Path) -> bool:
    """Start a node and stop it; return whether it found the database behind what it remembers."""
    store = await MongoStore.open(url, mark=mark)
    await store.aclose()
    return store.pulse.is_behind


async def test_it_is_recognised_at_every_start_and_no_more_once_the_loss_is_accepted(
    mongo_set: MongoSet, tmp_path: Path
) -> None:
    url, mark = mongo_set.url("setback"), tmp_path / "mark"
    mongo_set.empty(url)
    assert [await is_behind(url, mark) for _ in range(3)] == [False] * 3
    with MongoClient[Any](url) as client:  # as a backup from after the first start has it
        client.get_default_database().meta.update_one({"_id": "pulse"}, {"$set": {"n": 1}})
    assert [await is_behind(url, mark) for _ in range(4)] == [True] * 4
    remembered = remembered_in(mark)
    assert await accept_loss(url, remembered=remembered, force=False, act=ACT) is not None
    assert not await is_behind(url, mark)
    assert await accept_loss(url, remembered=remembered, force=False, act=ACT) is None


async def test_a_backup_from_between_two_beats_is_recognised_after_a_stop_in_good_order(
    mongo_set: MongoSet, tmp_path: Path
) -> None:
    url, mark = mongo_set.url("setback"), tmp_path / "mark"
    mongo_set.empty(url)
    store = await MongoStore.open(url, mark=mark)
    with MongoClient[Any](url) as client:
        meta = client.get_default_database().meta
        backup: Any = meta.find_one({"_id": "pulse"})
        await store.aclose()
        meta.replace_one({"_id": "pulse"}, backup)
    assert await is_behind(url, mark)


async def test_the_database_counts_on_while_a_node_appends(
    mongo_set: MongoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imserver.data.mongo.pulse._BEAT_S", 0.0)
    url, mark = mongo_set.url("setback"), tmp_path / "mark"
    mongo_set.empty(url)
    store = await MongoStore.open(url, mark=mark)
    beating, before = asyncio.create_task(store.pulse.run()), remembered_in(mark)
    for count in (1, 2):
        await store.append([event(f"c{count}", LINE)])
        async with asyncio.timeout(PATIENCE_S):
            while remembered_in(mark) < before + count:
                await asyncio.sleep(0.01)
    beating.cancel()
    await store.aclose()
    assert remembered_in(mark) == before + 3, "and once at its end"


async def test_a_node_that_remembers_nothing_finds_nothing_amiss(
    mongo_set: MongoSet, tmp_path: Path
) -> None:
    url = mongo_set.url("setback")
    mongo_set.empty(url)
    assert not await is_behind(url, tmp_path / "one")
    assert not await is_behind(url, tmp_path / "two")
