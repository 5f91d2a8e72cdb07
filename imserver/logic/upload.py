"""One run of bytes into an upload: from the offset where it stands, as far as its client gets.

Bytes gather to a segment, which is written when it is full; what is durable is told to the catalogue now and
then and at the end (`Upload.keep`), also of a segment that is not full: it is written over when more comes.
So of a connection that is cut at any byte everything that came is kept, and of a process that is killed at
most `KEPT_EVERY_BYTES` are sent again. Memory holds one segment.

A run with a checksum counts as a whole or not at all, so nothing of it is kept before its end. What was
written of it lies behind the offset, and the next run goes over it.
"""

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from imserver.core.errors import Refusal, StoreCorrupt
from imserver.core.files import SEGMENT_BYTES, FileId, FileRecord
from imserver.data.file_store import FileCatalog, FileContent
from imserver.logic.upload_turns import UploadBusy
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import clip

KEPT_EVERY_BYTES: Final = 8 * 1024 * 1024
CHECKSUMS: Final[dict[str, Callable[[], Any]]] = {
    "sha256": hashlib.sha256,
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),  # which tus asks every server to know
}
"""The algorithms of a run's checksum, by the names that tus gives them."""

_DIGESTS_KEPT_MAX: Final = 1_000
_Hash: TypeAlias = Any


class WrongChecksum(Refusal):
    """What came is not what its checksum, or the file's digest, says."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.CONFLICT, message)


class Checksum(NamedTuple):
    """What a client says of the bytes of one run."""

    algorithm: str
    value: bytes


class RunningDigests:
    """How far the digests of unfinished files have come, so that a file need not be read again at its end.

    Only for the last thousand; of others it is.
    """

    def __init__(self) -> None:
        self._at: OrderedDict[FileId, tuple[int, int, _Hash]] = OrderedDict()

    def claimed(self, file: FileRecord) -> None:
        """Carry over what is known of a file that was just claimed, if nobody else had it in between."""
        run, offset, digest = self._at.pop(file.id, (0, 0, None))
        if digest is not None and file.run in (run, run + 1):
            self._at[file.id] = (file.run, offset, digest)

    def take(self, file: FileRecord) -> _Hash | None:
        """Return the digest of what is there of a file, to be continued, or None if it is not known."""
        if file.offset == 0:
            return hashlib.sha256()
        run, offset, digest = self._at.pop(file.id, (0, 0, None))
        return digest if (run, offset) == (file.run, file.offset) else None

    def put(self, file: FileRecord, offset: int, digest: _Hash | None) -> None:
        """Keep the digest of the first ``offset`` bytes, as the file's run wrote them."""
        if digest is None:
            return
        self._at[file.id] = (file.run, offset, digest.copy())
        while len(self._at) > _DIGESTS_KEPT_MAX:
            self._at.popitem(last=False)


class Upload:
    """One run into one file; made by `Files`, for whoever holds its turn.

    Attributes:
        file: the file as it was claimed for this run.
        offset: how many bytes of the file have come, kept or not.
        size: how many it is to have.
    """

    def __init__(
        self,
        file: FileRecord,
        catalog: FileCatalog,
        content: FileContent,
        *,
        digests: RunningDigests,
        checksum: Checksum | None,
        expires_ms: Callable[[], int],
    ) -> None:
        self.file = file
        self._catalog = catalog
        self._content = content
        self._digests = digests
        self._checksum = checksum
        self._expires_ms = expires_ms
        self._segment = bytearray()
        self._digest: _Hash | None = digests.take(file)
        self._of_run: _Hash | None = None if checksum is None else _hash_of(checksum)
        self._hashed = 0
        self._unkept_bytes = 0
        self.offset = file.offset
        self.size = file.size

    async def begin(self) -> None:
        """Take up the segment that is not full.

        Raises:
            Refusal: ``conflict``; it was torn by a power cut, and the upload goes on before it.
        """
        rest = self.offset % SEGMENT_BYTES
        if not rest:
            return
        try:
            held = await self._content.get(self.file.blob, self._index)
        except StoreCorrupt:
            held = None
        if held is None or len(held) < rest:
            whole = self.offset - rest
            await self._move_offset(whole)
            raise wrong_offset(self.offset, whole)
        self._segment += held[:rest]
        self._hashed = rest

    async def write(self, data: bytes) -> None:
        """Take in bytes that follow those before.

        Raises:
            Refusal: ``too_large``, they go beyond the end of the file; ``not_found``, it is gone.
            UploadBusy: another run has it now.
            StoreUnavailable: there is no room.
        """
        if self.offset + len(data) > self.size:
            raise beyond_end(self.size)
        rest = memoryview(data)
        while rest:
            room = SEGMENT_BYTES - len(self._segment)
            part, rest = rest[:room], rest[room:]
            self._segment += part
            self.offset += len(part)
            self._unkept_bytes += len(part)
            if len(self._segment) == SEGMENT_BYTES:
                await self._put()
                self._segment.clear()
                self._hashed = 0
        if self._unkept_bytes >= KEPT_EVERY_BYTES and self._checksum is None:
            await self.keep()

    async def keep(self) -> None:
        """Make durable what has come.

        Raises:
            Refusal: ``not_found``, the file is gone.
            UploadBusy: another run has it now.
        """
        if self._segment:
            await self._put()
        await self._content.sync(self.file.blob)
        await self._move_offset(self.offset)
        self._unkept_bytes = 0
        self._digests.put(self.file, self.offset, self._digest)

    async def end(self, *, whole: bool) -> None:
        """Keep what has come; ``whole``: the run came to its end.

        Raises:
            WrongChecksum: and nothing of this run is kept.
        """
        if self._checksum is not None:
            if not whole:
                return  # half of it has no checksum
            await self._hash()
            assert self._of_run is not None, "there is one with a checksum"
            if not hmac.compare_digest(self._of_run.digest(), self._checksum.value):
                raise WrongChecksum(
                    f"these bytes do not have the {self._checksum.algorithm} of `Upload-Checksum`, and were "
                    f"dropped; send them again from {self.file.offset}"
                )
        await self.keep()

    @property
    def _index(self) -> int:
        """The segment that is being filled, or was just filled."""
        return (self.offset - len(self._segment)) // SEGMENT_BYTES

    async def _put(self) -> None:
        await self._hash()
        segment = bytes(self._segment)
        if not await self._content.put(self.file.blob, self._index, segment, run=self.file.run):
            await self._end_refused()

    async def _move_offset(self, offset: int) -> None:
        expires_ms = self._expires_ms()
        if not await self._catalog.move_offset(
            self.file.id, offset, expires_ms=expires_ms, run=self.file.run
        ):
            await self._end_refused()

    async def _end_refused(self) -> NoReturn:
        if await self._catalog.find(self.file.id) is not None:
            raise UploadBusy
        await self._content.drop(self.file.blob)  # what was written after it was let go
        raise missing(self.file.id)

    async def _hash(self) -> None:
        hashes = [one for one in (self._digest, self._of_run) if one is not None]
        part = bytes(self._segment[self._hashed :])
        self._hashed = len(self._segment)
        if hashes and part:
            await asyncio.to_thread(_update, hashes, part)


def check_checksum(checksum: Checksum) -> None:
    """Return if a checksum can be checked.

    Raises:
        Refusal: ``bad_frame``.
    """
    known = CHECKSUMS.get(checksum.algorithm)
    if known is None:
        raise Refusal(
            ErrorCode.BAD_FRAME,
            f"checksums by {clip(checksum.algorithm)!r} are not known here: {', '.join(CHECKSUMS)} are",
        )
    if len(checksum.value) != known().digest_size:
        size = known().digest_size
        raise Refusal(ErrorCode.BAD_FRAME, f"a {checksum.algorithm} has {size} bytes, in base64")


def wrong_offset(asked: int, offset: int) -> Refusal:
    """Return the refusal of a run that does not begin where the file stands."""
    return Refusal(
        ErrorCode.CONFLICT, f"`Upload-Offset` is {asked}, and the upload stands at {offset}"
    )


def beyond_end(size: int) -> Refusal:
    """Return the refusal of bytes beyond the end."""
    return Refusal(
        ErrorCode.TOO_LARGE,
        f"the upload was announced with {size} bytes, and these would be more; begin a new one",
    )


def missing(file: str) -> Refusal:
    """Return the one answer for files that are missing, gone, or not for the asker."""
    return Refusal(ErrorCode.NOT_FOUND, f"there is no file {clip(file)!r} that you may see")


def _hash_of(checksum: Checksum) -> _Hash:
    return CHECKSUMS[checksum.algorithm]()


def _update(hashes: Sequence[_Hash], part: bytes) -> None:
    for one in hashes:
        one.update(part)
