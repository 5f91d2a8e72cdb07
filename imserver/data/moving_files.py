"""Files as they move from one engine to another: the bytes of each blob once, segment by segment, as they
are.

What is copied is read again and compared before the next blob. Of a finished file the SHA-256 must be what
its record says, too; of a sealed one only somebody with the keys can tell, who then opens it in memory. A
file that is damaged ends the move, since who goes on without it would not know of it. An unfinished upload
goes along as far as it is whole, as after a power cut: its client goes on from there. Thumbnails go along;
one that is damaged is made anew when somebody asks.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from imserver.core.errors import StoreCorrupt
from imserver.core.files import SEGMENT_BYTES, BlobId, FileRecord, thumbnail_of
from imserver.core.key_ring import KeyRing
from imserver.data.file_store import FileContent
from imserver.data.moving import MoveFailed, Source, Target
from imserver.data.sealed_files import FileKey, SealedContent, is_sealed


class MovedFiles(NamedTuple):
    """What was moved.

    Attributes:
        files: how many, finished and unfinished.
        unfinished: of these, how many uploads.
        unopened: how many blobs are sealed and were compared, but not looked into, for want of a key.
    """

    files: int
    unfinished: int
    unopened: int


async def move_files(
    source: Source, target: Target, *, ring: KeyRing | None, told: Callable[[int], None]
) -> MovedFiles:
    """Copy all files, read them again and compare. ``told`` hears how many bytes of them are done.

    Raises:
        MoveFailed: a file is damaged in the source, or came out differently.
    """
    key = FileKey(_KeptKey((await source.sealing()).file_key), ring)
    if ring is not None:
        await key.load()
    mover = _Mover(source.content, target.content, None if ring is None else key)
    count = unfinished = size = 0
    async for files in source.files():
        wanted = {file.id for file in await target.put_files(files)}
        for file in files:
            if file.id in wanted:
                await mover.copy(file)
            count += 1
            unfinished += file.digest is None
            size += file.offset
            told(size)
    return MovedFiles(count, unfinished, mover.unopened)


class _Mover:
    """Copies blobs, one at a time; memory holds one segment.

    Attributes:
        unopened: how many were sealed, and not looked into.
    """

    def __init__(self, source: FileContent, target: FileContent, key: FileKey | None) -> None:
        self._source = source
        self._target = target
        self._key = key
        self.unopened = 0

    async def copy(self, file: FileRecord) -> None:
        """Copy the bytes of a file, with its thumbnail."""
        sent, count = hashlib.sha256(), 0
        async for segment in self._held(file):
            await self._target.put(file.blob, count, segment)
            sent.update(segment)
            count += 1
        await self._put_thumbnail(file)
        await self._target.sync(file.blob)
        there = hashlib.sha256()
        for index in range(count):
            there.update(await self._target.get(file.blob, index) or b"")
        if there.digest() != sent.digest():
            raise MoveFailed(
                f"file {file.id} came out differently: the target is no good; remove it and try again"
            )
        if file.digest is not None:
            await self._check_whole(file, count, sent)

    async def _held(self, file: FileRecord) -> AsyncIterator[bytes]:
        """Yield the segments that are kept of a file, as they are."""
        for index in range(_segments(file.offset)):
            try:
                segment = await self._source.get(file.blob, index)
            except StoreCorrupt as exc:
                if file.digest is None:
                    return
                raise _damaged(file, str(exc)) from exc
            if segment is None:
                if file.digest is None:
                    return
                raise _damaged(file, f"segment {index} is not there")
            yield segment

    async def _put_thumbnail(self, file: FileRecord) -> None:
        if file.digest is None:
            return
        blob = thumbnail_of(file.blob)
        with contextlib.suppress(StoreCorrupt):
            small = await self._source.get(blob, 0)
            if small is not None:
                await self._target.put(blob, 0, small)
                await self._target.sync(blob)

    async def _check_whole(self, file: FileRecord, count: int, sent: Any) -> None:
        found = sent
        if is_sealed(file.blob):
            if self._key is None:
                self.unopened += 1
                return
            found = await self._opened(file.blob, count, self._key, file)
        if found.digest() != file.digest:
            raise _damaged(file, "its SHA-256 is another one")

    async def _opened(self, blob: BlobId, count: int, key: FileKey, file: FileRecord) -> Any:
        opened = SealedContent(self._target, key)
        digest = hashlib.sha256()
        for index in range(count):
            try:
                digest.update(await opened.get(blob, index) or b"")
            except StoreCorrupt as exc:
                raise _damaged(file, str(exc)) from exc
        return digest


class _KeptKey:
    """A `KeyPlace` that is only looked at."""

    def __init__(self, wrapped: bytes | None) -> None:
        self._wrapped = wrapped

    async def wrapped_file_key(self) -> bytes | None:
        return self._wrapped

    async def put_wrapped_file_key(self, wrapped: bytes, *, first: bool) -> bytes:
        raise StoreCorrupt("the key of sealed files is not there")


def _segments(size: int) -> int:
    return -(-size // SEGMENT_BYTES)


def _damaged(file: FileRecord, why: str) -> MoveFailed:
    return MoveFailed(
        f"file {file.id} of {file.owner} is damaged where it is ({why}). Put its bytes back from a backup, "
        f"or have a server run there once more and {file.owner} delete it; `imserver check` names all that "
        "are damaged"
    )
