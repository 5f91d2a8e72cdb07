"""The contract of the ports for files: every engine passes all of it.

An engine's test class gives a fixture ``place``: a store, its catalogue, and the bytes.
"""

from typing import NamedTuple, Protocol

import pytest
from msgspec import structs

from imserver.core.errors import StoreUnavailable
from imserver.core.files import (
    SEALED_SEGMENT_BYTES_MAX,
    SEGMENT_BYTES,
    BlobId,
    FileId,
    FileQuota,
    FileRecord,
)
from imserver.core.model import Append, Mismatch, Refers, Stored
from imserver.data.file_store import FileCatalog, FileContent, FileLeavings
from imserver.data.store import Store
from imserver.protocol.names import ConversationName, RobotName
from tests.contract.records import DOCK, LINE, R1, R2, R3, YARD, created, deleted, event, removed

ROOMY = FileQuota(size=2**40, files=1_000, unfinished=1_000)
DIGEST, OTHER = b"\x01" * 32, b"\x02" * 32


class Files(FileCatalog, FileLeavings, Protocol):
    """What a store has of files."""


class Place(NamedTuple):
    """A store, its catalogue, and the bytes."""

    store: Store
    files: Files
    content: FileContent


def upload(
    name: str, *, owner: RobotName = R1, size: int = 10, expires_ms: int | None = 5_000
) -> FileRecord:
    """Return a new file; ``name`` makes its id and its blob."""
    file, blob = FileId(f"file-{name:0>8}"), BlobId(f"blob-{name:0>8}")
    return FileRecord(file, owner, blob, size, 0, b"name \x00\xff", 1_000, expires_ms)


async def finished(
    place: Place, name: str, digest: bytes = DIGEST, *, owner: RobotName = R1
) -> FileRecord:
    """Store a finished file."""
    file = upload(name, owner=owner)
    assert await place.files.create(file, ROOMY) is None
    await place.content.put(file.blob, 0, bytes(file.size))
    done = await place.files.complete(file.id, digest, expires_ms=None)
    assert done is not None
    return done


def referring(cid: str, file: FileRecord, conv: ConversationName = DOCK) -> Append:
    """Return an event that refers to a file."""
    return structs.replace(event(cid, conv, kind="file"), change=Refers(file.id))


async def refer(place: Place, file: FileRecord, cid: str, conv: ConversationName = DOCK) -> None:
    """Store an event that refers to a file."""
    [outcome] = await place.store.append([referring(cid, file, conv)])
    assert isinstance(outcome, Stored)


async def is_shared(place: Place, file: FileRecord, robot: RobotName | None) -> bool:
    """Tell whether a robot sees a file; with None, whether any group has it."""
    return bool(await place.files.shared_in(file.id, robot, after="", limit=1))


class CatalogContract:
    """Which files there are."""

    async def test_a_new_file_is_found_as_it_was_stored(self, place: Place) -> None:
        file = upload("a")
        assert await place.files.create(file, ROOMY) is None
        assert await place.files.find(file.id) == file
        assert await place.files.find(FileId("no-such-file")) is None

    async def test_an_offset_moves_both_ways_until_the_file_is_finished(self, place: Place) -> None:
        file = upload("a")
        await place.files.create(file, ROOMY)
        for offset in (7, 3):
            assert await place.files.move_offset(file.id, offset, expires_ms=6_000 + offset)
            found = await place.files.find(file.id)
            assert found is not None
            assert (found.offset, found.expires_ms) == (offset, 6_000 + offset)
        await place.files.complete(file.id, DIGEST, expires_ms=None)
        assert not await place.files.move_offset(file.id, 5, expires_ms=1)
        assert not await place.files.move_offset(FileId("no-such-file"), 5, expires_ms=1)

    async def test_a_finished_file_has_its_digest_and_all_its_bytes(self, place: Place) -> None:
        file = upload("a")
        await place.files.create(file, ROOMY)
        done = await place.files.complete(file.id, DIGEST, expires_ms=9_000)
        assert done is not None
        assert (done.digest, done.offset, done.expires_ms) == (DIGEST, file.size, 9_000)
        again = await place.files.complete(file.id, OTHER, expires_ms=None)
        assert again == done == await place.files.find(file.id)
        assert await place.files.complete(FileId("no-such-file"), DIGEST, expires_ms=None) is None

    async def test_files_of_the_same_content_share_a_blob(self, place: Place) -> None:
        first, second = await finished(place, "a"), await finished(place, "b", owner=R2)
        third = await finished(place, "c", OTHER)
        assert first.blob == second.blob != third.blob
        assert await place.files.dropped(limit=10) == [upload("b").blob]

    async def test_files_of_the_same_digest_and_another_size_do_not(self, place: Place) -> None:
        first = await finished(place, "a")
        other = upload("b", size=11)
        await place.files.create(other, ROOMY)
        done = await place.files.complete(other.id, DIGEST, expires_ms=None)
        assert done is not None
        assert done.blob == other.blob != first.blob

    async def test_a_shared_blob_is_dropped_with_its_last_file(self, place: Place) -> None:
        first, second = await finished(place, "a"), await finished(place, "b")
        await place.files.forget(upload("b").blob)
        assert await place.files.remove(first.id)
        assert await place.files.dropped(limit=10) == []
        assert await place.files.remove(second.id)
        assert await place.files.dropped(limit=10) == [first.blob]
        assert not await place.files.remove(second.id)
        await place.files.forget(first.blob)
        await place.files.forget(first.blob)
        assert await place.files.dropped(limit=10) == []

    async def test_a_blob_that_was_dropped_is_given_to_nobody(self, place: Place) -> None:
        first = await finished(place, "a")
        await place.files.remove(first.id)
        again = await finished(place, "b")
        assert again.blob != first.blob
        assert await place.files.dropped(limit=10) == [first.blob]

    async def test_the_files_of_one_robot_come_in_pages(self, place: Place) -> None:
        for name in ("c", "a", "b"):
            await place.files.create(upload(name), ROOMY)
        await finished(place, "d", owner=R2)
        assert await place.files.owned(R1, after="", limit=2) == [upload("a"), upload("b")]
        assert await place.files.owned(R1, after=upload("b").id, limit=2) == [upload("c")]
        [done] = await place.files.owned(R2, after="", limit=2)
        assert done == await place.files.find(done.id)

    @pytest.mark.parametrize(
        "quota",
        [
            FileQuota(size=29, files=9, unfinished=9),
            FileQuota(size=99, files=2, unfinished=9),
            FileQuota(size=99, files=9, unfinished=1),
        ],
    )
    async def test_nobody_gets_more_than_the_quota(self, place: Place, quota: FileQuota) -> None:
        await finished(place, "a")
        await finished(place, "x", OTHER, owner=R2)
        await place.files.create(upload("b"), ROOMY)
        assert await place.files.create(upload("c"), quota) == FileQuota(30, 3, 2)
        assert await place.files.find(upload("c").id) is None
        assert await place.files.create(upload("c", owner=R2), quota) is None

    async def test_what_has_expired_goes_and_the_oldest_first(self, place: Place) -> None:
        for name, expires_ms in (("a", 300), ("b", 100), ("c", 200), ("d", None), ("e", 301)):
            await place.files.create(upload(name, expires_ms=expires_ms), ROOMY)
        assert await place.files.expire(300, limit=2) == 2
        assert await place.files.find(upload("a").id) is not None
        assert await place.files.expire(300, limit=2) == 1
        assert await place.files.expire(300, limit=2) == 0
        left = await place.files.owned(R1, after="", limit=9)
        assert [file.id for file in left] == [upload("d").id, upload("e").id]
        assert len(await place.files.dropped(limit=9)) == 3


class SharingContract:
    """Who sees files."""

    async def test_members_of_a_conversation_see_what_its_events_refer_to(
        self, place: Place
    ) -> None:
        await place.store.append([created(DOCK, members=[R2]), created(YARD, members=[R3])])
        file, other = await finished(place, "a"), await finished(place, "b", OTHER)
        assert not await is_shared(place, file, R2)
        await refer(place, file, "c1")
        assert await is_shared(place, file, R2)
        assert not await is_shared(place, file, R3)
        assert not await is_shared(place, other, R2)
        await refer(place, file, "c2", YARD)
        assert await is_shared(place, file, R3)

    async def test_the_conversations_of_a_file_come_in_pages_each_once(self, place: Place) -> None:
        await place.store.append([created(YARD, members=[R2]), created(DOCK, members=[R2])])
        file = await finished(place, "a")
        for conv in (YARD, DOCK, LINE):
            await refer(place, file, "c1", conv)
            await refer(place, file, "c2", conv)
        first = await place.files.shared_in(file.id, R2, after="", limit=2)
        rest = await place.files.shared_in(file.id, R2, after=first[-1], limit=2)
        assert (first, rest) == ([LINE, DOCK], [YARD])
        assert await place.files.shared_in(file.id, None, after="", limit=9) == [DOCK, YARD]
        assert await place.files.shared_in(file.id, R3, after="", limit=9) == []

    async def test_who_is_removed_sees_it_no_longer(self, place: Place) -> None:
        await place.store.append([created(DOCK, members=[R2])])
        file = await finished(place, "a")
        await refer(place, file, "c1")
        await place.store.append([removed("c2", R2)])
        assert not await is_shared(place, file, R2)

    async def test_a_direct_line_may_begin_with_a_file(self, place: Place) -> None:
        file = await finished(place, "a")
        await refer(place, file, "c1", LINE)
        assert await is_shared(place, file, R2)
        assert not await is_shared(place, file, R3)
        assert not await is_shared(place, file, None)

    async def test_groups_share_until_they_end(self, place: Place) -> None:
        await place.store.append([created(DOCK, members=[R2])])
        file = await finished(place, "a")
        assert not await is_shared(place, file, None)
        await refer(place, file, "c1")
        assert await is_shared(place, file, None)
        await place.store.append([deleted("c2")])
        assert not await is_shared(place, file, None)
        assert not await is_shared(place, file, R2)

    async def test_a_reference_is_stored_once_like_any_event(self, place: Place) -> None:
        await place.store.append([created(DOCK, members=[R2])])
        file, other = await finished(place, "a"), await finished(place, "b", OTHER)
        await refer(place, file, "c1")
        [again] = await place.store.append([referring("c1", file)])
        assert isinstance(again, Stored)
        assert again.dup
        another = structs.replace(referring("c1", other), body=b"\x01")
        [mismatch] = await place.store.append([another])
        assert isinstance(mismatch, Mismatch)
        assert not await is_shared(place, other, R2)

    async def test_a_reference_to_a_file_that_has_gone_is_an_event_like_any(
        self, place: Place
    ) -> None:
        await place.store.append([created(DOCK, members=[R2])])
        file = await finished(place, "a")
        await place.files.remove(file.id)
        await refer(place, file, "c1")
        assert not await is_shared(place, file, R2)

    async def test_references_go_with_a_removed_file(self, place: Place) -> None:
        await place.store.append([created(DOCK, members=[R2])])
        file = await finished(place, "a")
        await refer(place, file, "c1")
        assert await place.files.remove(file.id)
        assert not await is_shared(place, file, R2)

    async def test_a_file_expires_with_the_last_event_that_refers_to_it(self, place: Place) -> None:
        await place.store.append([created(DOCK, members=[R2]), created(YARD, members=[R3])])
        file, never = await finished(place, "a"), await finished(place, "b", OTHER)
        await refer(place, file, "c1")
        await refer(place, file, "c1", YARD)
        await place.store.append([event("c2"), event("c2", YARD)])
        assert await place.store.trim(DOCK, 3, limit=9) == 3
        assert await place.files.expire(1_000, limit=9) == 0
        assert not await is_shared(place, file, R2)
        assert await is_shared(place, file, R3)
        assert await place.store.trim(YARD, 3, limit=9) == 3
        assert await place.files.expire(1_000, limit=9) == 1
        assert await place.files.find(file.id) is None
        assert await place.files.find(never.id) == never


class ContentContract:
    """The bytes."""

    async def test_a_segment_is_read_as_it_was_last_put(self, place: Place) -> None:
        blob, other = BlobId("blob-0001"), BlobId("blob-0002")
        whole = bytes(range(256)) * (SEGMENT_BYTES // 256)
        await place.content.put(blob, 0, whole)
        await place.content.put(blob, 1, b"short")
        await place.content.put(blob, 1, b"a longer one")
        await place.content.put(other, 0, b"x" * SEALED_SEGMENT_BYTES_MAX)
        await place.content.sync(blob)
        assert await place.content.get(blob, 0) == whole
        assert await place.content.get(blob, 1) == b"a longer one"
        assert await place.content.get(other, 0) == b"x" * SEALED_SEGMENT_BYTES_MAX
        await place.content.put(blob, 1, b"short")
        assert await place.content.get(blob, 1) == b"short"

    async def test_nothing_is_read_where_nothing_was_put(self, place: Place) -> None:
        blob = BlobId("blob-0001")
        assert await place.content.get(blob, 0) is None
        await place.content.sync(blob)
        await place.content.put(blob, 2, b"third")
        await place.content.put(blob, 3, b"")
        found = [await place.content.get(blob, index) for index in range(5)]
        assert found == [None, None, b"third", b"", None]

    async def test_a_dropped_blob_is_gone_and_its_name_free(self, place: Place) -> None:
        blob, other = BlobId("blob-0001"), BlobId("blob-0002")
        for one in (blob, other):
            await place.content.put(one, 0, b"bytes")
        await place.content.drop(blob)
        await place.content.drop(blob)
        assert await place.content.get(blob, 0) is None
        assert await place.content.get(other, 0) == b"bytes"
        await place.content.put(blob, 1, b"new")
        assert await place.content.get(blob, 0) is None

    async def test_a_segment_that_is_too_long_is_refused(self, place: Place) -> None:
        with pytest.raises(ValueError, match="at most"):
            await place.content.put(BlobId("blob-0001"), 0, b"x" * (SEALED_SEGMENT_BYTES_MAX + 1))

    async def test_where_there_is_no_room_nothing_is_written(self, full: FileContent) -> None:
        with pytest.raises(StoreUnavailable, match=r"room for files|disk is full"):
            await full.put(BlobId("blob-0001"), 0, b"x" * SEGMENT_BYTES)


class FileContract(CatalogContract, SharingContract, ContentContract):
    """All of it."""
