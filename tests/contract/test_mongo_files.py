"""Files that two nodes write, finish, share and let go of at the same time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest

from imserver.core.files import SEGMENT_BYTES, BlobId, FileRecord, thumbnail_of
from imserver.data.mongo.database import Session
from imserver.data.mongo.store import MongoStore
from tests.contract.file_contract import DIGEST, ROOMY, upload
from tests.contract.records import R1, R2
from tests.mongo_server import MongoSet

CONTENT = b"0123456789"
OTHER = b"someoneelse"[:10]


@pytest.fixture
async def nodes(mongo_set: MongoSet) -> AsyncIterator[tuple[MongoStore, MongoStore]]:
    url = mongo_set.url("files")
    mongo_set.empty(url)
    one, other = await MongoStore.open(url), await MongoStore.open(url)
    yield one, other
    await one.aclose()
    await other.aclose()


async def at_once(*works: Coroutine[Any, Any, Any]) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
    return [task.result() for task in tasks]


async def begun(node: MongoStore, name: str, **more: Any) -> FileRecord:
    """Begin an upload and claim it."""
    file = upload(name, **more)
    assert await node.files.create(file, ROOMY) is None
    return await claimed(node, file)


async def claimed(node: MongoStore, file: FileRecord) -> FileRecord:
    found = await node.files.claim(file.id)
    assert found is not None
    return found


async def put(node: MongoStore, file: FileRecord, segment: bytes = CONTENT) -> bool:
    return await node.content.put(file.blob, 0, segment, run=file.run)


async def finish(node: MongoStore, file: FileRecord) -> FileRecord | None:
    return await node.files.complete(file.id, DIGEST, expires_ms=None, run=file.run)


async def sweep(node: MongoStore) -> None:
    """Let go of the bytes of what was dropped."""
    while blobs := await node.files.dropped(limit=10):
        for blob in blobs:
            await node.content.drop(blob)
            await node.content.drop(thumbnail_of(blob))
            await node.files.forget(blob)


async def test_of_an_earlier_run_nothing_counts_any_more(nodes) -> None:
    asleep, awake = nodes
    old = await begun(asleep, "a")
    assert await put(asleep, old)
    new = await claimed(awake, old)
    assert new.run == old.run + 1
    assert not await put(asleep, old, OTHER)
    assert not await asleep.files.move_offset(old.id, 5, expires_ms=1, run=old.run)
    refused = await finish(asleep, old)
    assert refused is not None and refused.digest is None
    assert not await asleep.files.remove(old.id, run=old.run)
    assert await asleep.files.find(old.id) == new
    assert await asleep.content.get(new.blob, 0) == CONTENT
    assert await put(awake, new, OTHER)
    assert await awake.files.move_offset(new.id, 10, expires_ms=1, run=new.run)
    done = await finish(awake, new)
    assert done is not None and done.digest == DIGEST
    assert await asleep.content.get(done.blob, 0) == OTHER


async def test_what_is_finished_never_changes_and_its_bytes_are_not_taken(nodes) -> None:
    asleep, awake = nodes
    old = await begun(asleep, "a")
    new = await claimed(awake, old)
    await put(awake, new)
    done = await finish(awake, new)
    for late in (old, new):
        assert not await put(asleep, late, OTHER)
    await asleep.content.drop(old.blob)
    assert done is not None and await claimed(asleep, old) == done
    sharer = await begun(awake, "b", owner=R2)
    await put(awake, sharer)
    shared = await finish(awake, sharer)
    assert shared is not None and shared.blob == done.blob
    assert await awake.files.remove(done.id)
    await asleep.content.drop(old.blob)
    assert not await put(asleep, old, OTHER)
    await sweep(asleep)
    assert await awake.content.get(shared.blob, 0) == CONTENT


async def test_a_writer_that_wakes_up_when_all_is_gone_leaves_nothing(nodes) -> None:
    asleep, awake = nodes
    file = await begun(asleep, "a")
    await put(asleep, file)
    await awake.files.remove(file.id)
    await sweep(awake)
    assert not await put(asleep, file)
    assert await asleep.content.get(file.blob, 0) is None


async def test_an_upload_that_goes_on_while_it_is_to_expire_stays(nodes, monkeypatch) -> None:
    sweeping, writing = nodes
    file = await begun(writing, "a", expires_ms=5_000)
    until_known = sweeping._database.until_known

    async def late(write: Callable[[Session], Awaitable[Any]]) -> Any:
        assert await writing.files.move_offset(file.id, 5, expires_ms=9_000, run=file.run)
        return await until_known(write)

    monkeypatch.setattr(sweeping._database, "until_known", late)
    assert await sweeping.files.expire(5_000, limit=10) == 1
    kept = await writing.files.find(file.id)
    assert kept is not None and (kept.offset, kept.expires_ms) == (5, 9_000)
    assert await put(writing, file), "who writes to it is not disturbed"
    monkeypatch.undo()
    assert await sweeping.files.expire(9_000, limit=10) == 1
    assert await writing.files.find(file.id) is None


async def test_a_thumbnail_is_kept_as_long_as_a_file_has_its_picture_and_no_longer(nodes) -> None:
    asleep, awake = nodes
    file = await begun(asleep, "a")
    await put(asleep, file)
    assert await finish(asleep, file) is not None
    small = thumbnail_of(file.blob)
    assert await asleep.content.put(small, 0, b"small")
    assert await awake.content.get(small, 0) == b"small"
    await awake.files.remove(file.id)
    await sweep(awake)
    assert not await asleep.content.put(small, 0, b"late")
    assert await asleep.content.get(small, 0) is None


async def test_a_thumbnail_that_is_made_while_its_picture_goes_leaves_nothing(nodes) -> None:
    for number in range(2):
        file = await begun(nodes[0], f"a{number}")
        await put(nodes[0], file)
        await finish(nodes[0], file)

        async def let_go(file: FileRecord = file) -> None:
            await nodes[1].files.remove(file.id)
            await sweep(nodes[1])

        async def make(picture: BlobId = file.blob) -> None:
            for _ in range(20):
                await nodes[0].content.put(thumbnail_of(picture), 0, b"small")

        await at_once(make(), let_go())
        assert await nodes[0].content.get(thumbnail_of(file.blob), 0) is None


async def test_a_claim_among_writes_lets_none_of_the_old_run_come_after_it(nodes) -> None:
    for number in range(6):
        old = await begun(nodes[0], f"a{number}")

        async def write_on(file: FileRecord = old) -> None:
            while await put(nodes[0], file, b"old"):
                pass

        async def take_over(file: FileRecord = old) -> FileRecord:
            new = await claimed(nodes[1], file)
            assert await put(nodes[1], new, b"new")
            return new

        _, new = await at_once(write_on(), take_over())
        assert await nodes[0].content.get(new.blob, 0) == b"new"


async def test_of_two_that_finish_one_upload_at_once_one_does(nodes) -> None:
    for number in range(6):
        old = await begun(nodes[0], f"a{number}")
        await put(nodes[0], old)

        async def take_over(file: FileRecord = old) -> FileRecord | None:
            new = await claimed(nodes[1], file)
            if new.digest is None:
                assert await put(nodes[1], new, CONTENT)
            return await finish(nodes[1], new)

        first, second = await at_once(finish(nodes[0], old), take_over())
        found = await nodes[0].files.find(old.id)
        assert found is not None and found.digest == DIGEST and second == found
        assert first.digest is None or first == found
        assert await nodes[0].content.get(found.blob, 0) == CONTENT


async def test_bytes_are_there_however_deletion_and_sharing_meet(nodes) -> None:
    kept = []
    for number in range(8):
        gone = await begun(nodes[0], f"a{number}")
        await put(nodes[0], gone)
        await finish(nodes[0], gone)
        sharers = [await begun(node, f"b{number}-{n}") for n, node in enumerate(nodes)]
        for node, sharer in zip(nodes, sharers, strict=True):
            await put(node, sharer)
        *done, _, _ = await at_once(
            *(finish(node, sharer) for node, sharer in zip(nodes, sharers, strict=True)),
            nodes[number % 2].files.remove(gone.id),
            sweep(nodes[0]),
        )
        await sweep(nodes[1])
        for file in done:
            assert await nodes[0].content.get(file.blob, 0) == CONTENT
        for file in done:
            await nodes[1].files.remove(file.id)
        await sweep(nodes[0])
        kept += [await nodes[0].content.get(file.blob, 0) for file in done]
    assert set(kept) == {None}


async def test_bytes_that_are_not_all_there_are_not_shared(nodes) -> None:
    node, _ = nodes
    size = SEGMENT_BYTES + 1
    torn = await begun(node, "a", size=size)
    await put(node, torn)
    await finish(node, torn)
    whole = await begun(node, "b", size=size, owner=R1)
    for index in range(2):
        assert await node.content.put(whole.blob, index, CONTENT, run=whole.run)
    third = await begun(node, "c", size=size)
    blobs = [done.blob for file in (whole, third) if (done := await finish(node, file))]
    assert blobs == [whole.blob, whole.blob]
