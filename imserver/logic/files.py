"""Files: uploads that can be taken up again at any byte, and who sees what became of them.

A file is seen by its uploader, and by the members of conversations in which an event of kind ``file`` refers
to it. For everybody else there is no such file.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from msgspec import Struct

from imserver.core.clock import Clock
from imserver.core.errors import Refusal, StoreCorrupt
from imserver.core.file_settings import FileSettings
from imserver.core.files import SEGMENT_BYTES, FileId, FileQuota, FileRecord
from imserver.core.ids import Ids
from imserver.core.scopes import Verb
from imserver.data.file_store import FileStore
from imserver.logic import file_metadata
from imserver.logic.session import Session
from imserver.logic.upload import (
    Checksum,
    RunningDigests,
    Upload,
    WrongChecksum,
    check_checksum,
    missing,
    wrong_offset,
)
from imserver.logic.upload_turns import Turn, UploadBusy, UploadTurns
from imserver.protocol.errors import ErrorCode

_log = logging.getLogger("imserver.files")

PAGE_FILES: Final = 100
_CONVERSATIONS_A_PAGE: Final = 100


class FileBody(Struct):
    """What the body of an event of kind ``file`` must have; anything else in it is its sender's."""

    file: str


_body = msgspec.msgpack.Decoder(FileBody).decode


class Files:
    """The use cases of files."""

    def __init__(
        self,
        files: FileStore,
        *,
        settings: FileSettings,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._catalog = files.catalog
        self._content = files.content
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._turns = UploadTurns()
        self._digests = RunningDigests()

    async def create(self, session: Session, size: int, metadata: str) -> FileRecord:
        """Begin an upload of ``size`` bytes; one of none is finished at once.

        Raises:
            Refusal: ``bad_frame`` for metadata that say what cannot be; ``too_large`` for a file that is, or
                for more than the robot may have; ``rate_limited`` for too many that are unfinished;
                ``forbidden`` for a token that may not send.
        """
        if not _may_upload(session):
            raise Refusal(ErrorCode.FORBIDDEN, "a token that uploads needs a scope send:… or `*`")
        file_metadata.parse(metadata)
        most = self._settings.file_bytes_max
        if size > most:
            raise Refusal(
                ErrorCode.TOO_LARGE, f"a file may have {most} bytes, and this one has {size}"
            )
        token = self._ids.token()
        file = FileRecord(
            id=FileId(token),
            owner=session.robot,
            blob=self._content.name(token),
            size=size,
            offset=0,
            metadata=metadata.encode(),
            created_ms=self._clock.now_ms(),
            expires_ms=self._unfinished_until_ms(),
        )
        settings = self._settings
        quota = FileQuota(
            settings.robot_bytes_max, settings.robot_files_max, settings.robot_uploads_max
        )
        would = await self._catalog.create(file, quota)
        if would is not None:
            raise _over_quota(would, quota)
        return await self._settled(file)

    async def own(self, session: Session, file_id: str) -> FileRecord:
        """Return how far one's own upload has come; whoever writes to it keeps what it has, and stops.

        Raises:
            Refusal: ``not_found``.
        """
        file = await self._own(session, file_id)
        if file.digest is not None:
            return file
        async with self._turns.taking(file.id, claims=True):
            return await self._settled(await self._claimed(file))

    async def seen(self, session: Session, file_id: str) -> FileRecord:
        """Return a file that one may see: one's own, or one that is finished and shared.

        Raises:
            Refusal: ``not_found``.
        """
        file = await self._found(file_id)
        if file.owner == session.robot and _may_upload(session):
            return file
        if file.digest is not None and await self._is_shared_with(session, file):
            return file
        raise missing(file_id)

    async def readable(self, session: Session, file_id: str) -> FileRecord:
        """Return a file that one may see and that is finished.

        Raises:
            Refusal: ``not_found``; ``conflict`` for one's own that is unfinished.
        """
        file = await self.seen(session, file_id)
        if file.digest is None and file.offset == file.size:
            file = await self.own(session, file_id)
        if file.digest is None:
            raise Refusal(
                ErrorCode.CONFLICT,
                f"this upload is unfinished: {file.offset} of {file.size} bytes are here",
            )
        return file

    async def owned(self, session: Session, *, after: str | None, limit: int) -> list[FileRecord]:
        """Return one's own files by id, finished and unfinished."""
        if not _may_upload(session):
            return []
        return await self._catalog.owned(
            session.robot, after=after or "", limit=min(limit, PAGE_FILES)
        )

    async def remove(self, session: Session, file_id: str) -> None:
        """Let go of one's own file, finished or not, for everybody.

        Raises:
            Refusal: ``not_found``.
        """
        file = await self._own(session, file_id)
        async with self._turns.taking(file.id, claims=True):
            await self._catalog.remove(file.id)

    async def referred(self, session: Session, body: bytes) -> FileId:
        """Return the file that the body of an event refers to, after a look whether its sender may.

        Raises:
            Refusal: ``bad_frame``, it refers to none; ``not_found``; ``conflict``, it is unfinished.
        """
        try:
            wanted = _body(body).file
        except (msgspec.MsgspecError, ValueError) as exc:
            raise Refusal(
                ErrorCode.BAD_FRAME,
                "the body of an event of kind file must be a map with `file`, the id of an upload",
            ) from exc
        return (await self.readable(session, wanted)).id

    @asynccontextmanager
    async def writing(
        self, session: Session, file_id: str, offset: int, checksum: Checksum | None
    ) -> AsyncIterator[tuple[Turn, Upload]]:
        """Hold the turn to write to one's own upload from ``offset`` on.

        Raises:
            UploadBusy: another has it.
            Refusal: ``not_found``; ``conflict``, the upload stands elsewhere; ``bad_frame``, a checksum that
                cannot be checked.
        """
        if checksum is not None:
            check_checksum(checksum)
        file = await self._own(session, file_id)
        async with self._turns.taking(file.id, claims=False) as turn:
            _require_offset(await self._own(session, file_id), offset)
            file = await self._claimed(file)  # only now: who is wrong takes it from nobody
            _require_offset(file, offset)
            upload = Upload(
                file,
                self._catalog,
                self._content,
                digests=self._digests,
                checksum=checksum,
                expires_ms=self._unfinished_until_ms,
            )
            await upload.begin()
            yield turn, upload

    async def finish_if_whole(
        self, session: Session, upload: Upload, digest: bytes | None
    ) -> FileRecord:
        """Finish an upload whose last byte has come, and return it as it is then. For who holds its turn.

        ``digest`` is what its SHA-256 must be, beside what the metadata say.

        Raises:
            UploadBusy: another run has it now.
            WrongChecksum: it is another one; the upload is let go.
        """
        file = await self._own(session, upload.file.id)
        if file.digest is None and file.run != upload.file.run:
            raise UploadBusy
        return await self._settled(file, digest)

    async def read(self, file: FileRecord, first: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes of a finished file from ``first`` to before ``end``, a segment at a time.

        Raises:
            StoreCorrupt: they are damaged, or the file was let go meanwhile.
        """
        while first < end:
            index, begin = divmod(first, SEGMENT_BYTES)
            segment = await self._content.get(file.blob, index)
            part = (segment or b"")[begin : begin + end - first]
            if not part:
                raise StoreCorrupt(f"segment {index} of blob {file.blob} is not there")
            yield part
            first += len(part)

    async def _found(self, file_id: str) -> FileRecord:
        file, now_ms = await self._catalog.find(FileId(file_id)), self._clock.now_ms()
        if file is None or (file.expires_ms is not None and file.expires_ms <= now_ms):
            raise missing(file_id)  # the sweep may come to it later
        return file

    async def _own(self, session: Session, file_id: str) -> FileRecord:
        file = await self._found(file_id)
        if file.owner != session.robot or not _may_upload(session):
            raise missing(file_id)
        return file

    async def _claimed(self, file: FileRecord) -> FileRecord:
        """Take one's own upload from whichever node writes to it, and return it as it is then."""
        claimed = await self._catalog.claim(file.id)
        if claimed is None:
            raise missing(file.id)
        self._digests.claimed(claimed)
        return claimed

    async def _is_shared_with(self, session: Session, file: FileRecord) -> bool:
        for robot in (session.robot, None) if session.admin else (session.robot,):
            after = ""
            while page := await self._catalog.shared_in(
                file.id, robot, after=after, limit=_CONVERSATIONS_A_PAGE
            ):
                if session.scopes is None or any(map(session.scopes.reads, page)):
                    return True
                after = page[-1]
        return False

    async def _settled(self, file: FileRecord, digest: bytes | None = None) -> FileRecord:
        """Finish a file whose bytes are all here, in case that nobody came to it yet."""
        if file.digest is not None or file.offset < file.size:
            return file
        running = self._digests.take(file) or await self._read_through(file)
        found = running.digest()
        said = file_metadata.parse(file.metadata.decode()).digest
        for expected in (said, digest):
            if expected is not None and not hmac.compare_digest(expected, found):
                if not await self._catalog.remove(file.id, run=file.run):
                    raise UploadBusy
                raise _wrong_whole(found, expected)
        ttl_s = self._settings.ttl_s
        expires_ms = self._clock.now_ms() + int(ttl_s * 1_000) if ttl_s else None
        done = await self._catalog.complete(file.id, found, expires_ms=expires_ms, run=file.run)
        if done is None:
            raise missing(file.id)
        if done.digest is None:
            raise UploadBusy
        _log.info("file.finished", extra={"file": done.id, "owner": done.owner, "bytes": done.size})
        return done

    async def _read_through(self, file: FileRecord) -> "hashlib._Hash":
        digest = hashlib.sha256()
        async for part in self.read(file, 0, file.size):
            await asyncio.to_thread(digest.update, part)
        return digest

    def _unfinished_until_ms(self) -> int:
        return self._clock.now_ms() + int(self._settings.upload_ttl_s * 1_000)


def _require_offset(file: FileRecord, offset: int) -> None:
    if file.offset != offset:
        raise wrong_offset(offset, file.offset)


def _wrong_whole(found: bytes, expected: bytes) -> WrongChecksum:
    return WrongChecksum(
        f"the whole has the SHA-256 {found.hex()}, not {expected.hex()} as was said; the upload was let go: "
        "begin a new one"
    )


def _may_upload(session: Session) -> bool:
    """Tell whether a token reaches the files of its robot: if it may send anywhere at all."""
    return session.scopes is None or session.scopes.somewhere(Verb.SEND)


def _over_quota(would: FileQuota, quota: FileQuota) -> Refusal:
    if would.unfinished > quota.unfinished:
        return Refusal(
            ErrorCode.RATE_LIMITED,
            f"you have {quota.unfinished} unfinished uploads, which is the most; finish or delete some",
            retry_after_ms=1_000,
        )
    if would.files > quota.files:
        return Refusal(
            ErrorCode.TOO_LARGE, f"you have {quota.files} files, which is the most; delete some"
        )
    return Refusal(
        ErrorCode.TOO_LARGE,
        f"with this file yours would take {would.size} bytes, and {quota.size} is the most; delete some",
    )
