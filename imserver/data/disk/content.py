"""The bytes of files in a directory: one file a blob, its segments in slots of one size.

A slot begins with the segment's length, plus one, and its CRC-32, so that what was torn or has rotted is not
taken for what was written, nor a hole for a segment without bytes. Written and read by threads of its own;
each call opens the blob's file and closes it.
"""

import errno
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from imserver.core.errors import StoreCorrupt, StoreFailed, StoreUnavailable
from imserver.core.files import SEALED_SEGMENT_BYTES_MAX, BlobId
from imserver.data.durable import sync
from imserver.data.memory.files import check_segment
from imserver.data.sqlite.threads import Threads

_HEAD: Final = struct.Struct(">II")
SLOT_BYTES: Final = _HEAD.size + SEALED_SEGMENT_BYTES_MAX
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{8,64}(~s)?(~t)?")
_THREADS: Final = 2
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskContent:
    """A `FileContent` in the directory ``folder``, which is made when it is needed.

    ``free_bytes_min``: so much of the disk stays free for others; what would take of it is refused.
    ``on_failure`` is told, on the loop, when it is unknown what is durable: the process must stop.
    """

    def __init__(
        self, folder: Path, *, free_bytes_min: int, on_failure: Callable[[str], None]
    ) -> None:
        self._on_failure = on_failure
        self._threads = Threads(
            "file-content", lambda: _Disk(folder, free_bytes_min), count=_THREADS
        )

    async def start(self) -> None:
        """Start the threads."""
        await self._threads.start()

    def name(self, token: str) -> BlobId:
        return BlobId(token)

    async def put(
        self, blob: BlobId, index: int, segment: bytes, *, run: int | None = None
    ) -> bool:
        check_segment(segment)
        await self._threads.call(_Disk.put, blob, index, segment)
        return True

    async def sync(self, blob: BlobId) -> None:
        try:
            await self._threads.call(_Disk.sync, blob)
        except StoreFailed as exc:
            self._on_failure(str(exc))
            raise

    async def get(self, blob: BlobId, index: int) -> bytes | None:
        return await self._threads.call(_Disk.get, blob, index)

    async def drop(self, blob: BlobId) -> None:
        await self._threads.call(_Disk.drop, blob)

    async def aclose(self) -> None:
        """Finish what was begun and end the threads. Idempotent."""
        await self._threads.aclose()


class Segment(NamedTuple):
    """Where a segment lies, and whether it is whole."""

    number: int
    size: int
    whole: bool


def blob_path(folder: Path, blob: str) -> Path:
    """Return where a blob lies below ``folder``: spread over as many directories as two characters name.

    Raises:
        ValueError: it is no name of a blob.
    """
    if not _NAME.fullmatch(blob):
        raise ValueError(f"{blob!r} is no name of a blob")
    return folder / blob[:2] / blob


def blob_paths(folder: Path) -> Iterator[Path]:
    """Yield the path of each blob below ``folder``."""
    for part in sorted(folder.iterdir()) if folder.is_dir() else ():
        if part.is_dir():
            yield from sorted(part.iterdir())


def segments(path: Path) -> Iterator[Segment]:
    """Read a blob through and yield its segments in order, up to the first slot that nothing was put into."""
    with path.open("rb") as file:
        index = 0
        while head := file.read(_HEAD.size):
            if len(head) < _HEAD.size:
                yield Segment(index, 0, whole=False)
                return
            size, checksum = _unpacked_head(head)
            if not 0 <= size <= SEALED_SEGMENT_BYTES_MAX:
                yield Segment(index, 0, whole=False)
                return
            body = file.read(SEALED_SEGMENT_BYTES_MAX)[:size]
            yield Segment(index, size, whole=len(body) == size and zlib.crc32(body) == checksum)
            index += 1


class _Disk:
    """The work of one thread."""

    def __init__(self, folder: Path, free_bytes_min: int) -> None:
        self._folder = folder
        self._free_bytes_min = free_bytes_min

    def put(self, blob: BlobId, index: int, segment: bytes) -> None:
        path = blob_path(self._folder, blob)
        head = _HEAD.pack(len(segment) + 1, zlib.crc32(segment))
        try:
            descriptor = self._open(path)
            try:
                self._require_room(descriptor)
                self._write(descriptor, (head, segment), index * SLOT_BYTES)
            finally:
                os.close(descriptor)
        except OSError as exc:
            reason = "the disk is full" if exc.errno in _NO_ROOM else exc.strerror
            raise StoreUnavailable(f"{path} cannot be written: {reason}") from exc

    def sync(self, blob: BlobId) -> None:
        path = blob_path(self._folder, blob)
        try:
            for place in (path, path.parent, self._folder, self._folder.parent):
                sync(place)
        except FileNotFoundError:
            return  # nothing was put into it
        except OSError as exc:
            raise StoreFailed(
                f"{path} could not be made durable ({exc.strerror}), so what the disk holds is unknown"
            ) from exc

    def get(self, blob: BlobId, index: int) -> bytes | None:
        path = blob_path(self._folder, blob)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StoreUnavailable(f"{path} cannot be read now: {exc.strerror}") from exc
        try:
            slot = os.pread(descriptor, SLOT_BYTES, index * SLOT_BYTES)
        except OSError as exc:
            raise StoreCorrupt(f"{path} cannot be read: {exc.strerror}") from exc
        finally:
            os.close(descriptor)
        return _unpacked(slot, f"segment {index} of {path}")

    def drop(self, blob: BlobId) -> None:
        path = blob_path(self._folder, blob)
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise StoreUnavailable(f"{path} cannot be removed: {exc.strerror}") from exc

    def rest(self, *, idle: bool) -> None:
        return None

    def close(self) -> None:
        """Hold nothing open."""

    def _open(self, path: Path) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, flags, 0o600)

    def _require_room(self, descriptor: int) -> None:
        disk = os.fstatvfs(descriptor)
        if disk.f_bavail * disk.f_frsize < self._free_bytes_min + SLOT_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @staticmethod
    def _write(descriptor: int, parts: tuple[bytes, ...], place: int) -> None:
        size = sum(map(len, parts))
        written = os.pwritev(descriptor, parts, place)
        if written < size:  # a disk that is all but full takes a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _unpacked_head(head: bytes) -> tuple[int, int]:
    size, checksum = _HEAD.unpack_from(head)
    return size - 1, checksum


def _unpacked(slot: bytes, what: str) -> bytes | None:
    if not any(slot[: _HEAD.size]):
        return None
    if len(slot) >= _HEAD.size:
        size, checksum = _unpacked_head(slot)
        segment = slot[_HEAD.size : _HEAD.size + size]
        if len(segment) == size and zlib.crc32(segment) == checksum:
            return segment
    raise StoreCorrupt(f"{what} is damaged; see `imserver check`")
