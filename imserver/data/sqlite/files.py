"""The catalogue of files in an embedded store: tables beside those of the events, and one writer."""

from typing import Any, Final

import apsw
import msgspec

from imserver.core.files import BlobId, FileId, FileQuota, FileRecord
from imserver.data.memory.files import exceeds
from imserver.data.sqlite.reader import ReadingConnection
from imserver.data.sqlite.statements import load_statements
from imserver.data.sqlite.threads import Reads, Transactions
from imserver.protocol.names import ConversationName, RobotName

_SQL: Final = load_statements(__package__, "files.sql")
_convs: Final = msgspec.json.Decoder(list[ConversationName]).decode
_blobs: Final = msgspec.json.Decoder(list[BlobId]).decode
_rows: Final = msgspec.json.Decoder(list[tuple[Any, ...]]).decode


class SqliteFiles:
    """The `FileCatalog` and `FileLeavings` of an embedded store, which makes it."""

    def __init__(self, read: Reads, transact: Transactions) -> None:
        self._read = read
        self._transact = transact

    # FileCatalog

    async def create(self, file: FileRecord, quota: FileQuota) -> FileQuota | None:
        def work(db: apsw.Connection) -> FileQuota | None:
            row: Any = db.execute(_SQL["usage"], (file.owner,)).fetchone()
            size, files, unfinished = row
            would = FileQuota(size + file.size, files + 1, unfinished + 1)
            if exceeds(would, quota):
                return would
            db.execute(_SQL["create_blob"], (file.blob, file.size))
            values = (file.id, file.owner, file.blob, file.size, file.offset)
            more = (file.metadata, file.created_ms, file.expires_ms)
            db.execute(_SQL["create_file"], values + more)
            return None

        would: FileQuota | None = await self._transact(work)
        return would

    async def find(self, file: FileId) -> FileRecord | None:
        row = await self._row("find", {"file": file})
        return None if row is None else FileRecord(*row)

    claim = find
    """The lock on the store lets in one process, so there is nothing to take from anybody."""

    async def owned(self, owner: RobotName, *, after: str, limit: int) -> list[FileRecord]:
        values = {"owner": owner, "after": after, "limit": limit}
        (text,) = await self._row("owned", values)
        return [_record(row) for row in _rows(text)]

    async def move_offset(
        self, file: FileId, offset: int, *, expires_ms: int, run: int = 0
    ) -> bool:
        values = {"file": file, "offset": offset, "expires_ms": expires_ms}

        def work(db: apsw.Connection) -> bool:
            return bool(db.execute(_SQL["move_offset"], values).fetchall())

        moved: bool = await self._transact(work)
        return moved

    async def complete(
        self, file: FileId, digest: bytes, *, expires_ms: int | None, run: int = 0
    ) -> FileRecord | None:
        def work(db: apsw.Connection) -> FileRecord | None:
            found = _find(db, file)
            if found is None or found.digest is not None:
                return found
            row: Any = db.execute(_SQL["blob_of_content"], (digest, found.size)).fetchone()
            blob = found.blob if row is None else row[0]
            if row is None:
                db.execute(_SQL["set_digest"], (digest, blob))
            db.execute(_SQL["finish"], (blob, expires_ms, file))
            _drop_if_free(db, found.blob)
            return _find(db, file)

        done: FileRecord | None = await self._transact(work)
        return done

    async def remove(self, file: FileId, *, run: int | None = None) -> bool:
        removed: bool = await self._transact(lambda db: _remove(db, file))
        return removed

    async def shared_in(
        self, file: FileId, robot: RobotName | None, *, after: str, limit: int
    ) -> list[ConversationName]:
        values = {"file": file, "robot": robot, "after": after, "limit": limit}
        (text,) = await self._row("shared_in_groups" if robot is None else "shared_in", values)
        return _convs(text)

    # FileLeavings

    async def expire(self, now_ms: int, *, limit: int) -> int:
        def work(db: apsw.Connection) -> int:
            due: list[Any] = db.execute(_SQL["due"], (now_ms, limit)).fetchall()
            for (file,) in due:
                _remove(db, file)
            return len(due)

        expired: int = await self._transact(work)
        return expired

    async def dropped(self, *, limit: int) -> list[BlobId]:
        (text,) = await self._row("dropped", {"limit": limit})
        return _blobs(text)

    async def forget(self, blob: BlobId) -> None:
        await self._transact(lambda db: db.execute(_SQL["forget"], (blob,)).fetchall())

    # KeyPlace

    async def wrapped_file_key(self) -> bytes | None:
        row = await self._read(ReadingConnection.row, _SQL["file_key"], {})
        return None if row is None else bytes.fromhex(row[0])

    async def put_wrapped_file_key(self, wrapped: bytes, *, first: bool) -> bytes:
        def work(db: apsw.Connection) -> bytes:
            row: Any = db.execute(_SQL["file_key"]).fetchone()
            if first and row is not None:
                return bytes.fromhex(row[0])
            number = int.from_bytes(wrapped[:4], "big")
            for name, value in (("file_key", wrapped.hex()), ("file_key_sealed", str(number))):
                db.execute(_SQL["put_meta"], (name, value))
            return wrapped

        kept: bytes = await self._transact(work)
        return kept

    async def _row(self, name: str, values: dict[str, Any]) -> Any:
        return await self._read(ReadingConnection.row, _SQL[name], values)


def _find(db: apsw.Connection, file: FileId) -> FileRecord | None:
    row: Any = db.execute(_SQL["find"], {"file": file}).fetchone()
    return None if row is None else FileRecord(*row)


def _remove(db: apsw.Connection, file: FileId) -> bool:
    rows: list[Any] = db.execute(_SQL["remove"], (file,)).fetchall()
    for (blob,) in rows:
        _drop_if_free(db, blob)
    return bool(rows)


def _drop_if_free(db: apsw.Connection, blob: BlobId) -> None:
    if db.execute(_SQL["note_dropped"], (blob,)).fetchall():
        db.execute(_SQL["delete_blob"], (blob,))


def _record(row: tuple[Any, ...]) -> FileRecord:
    file, owner, blob, size, offset, metadata, created_ms, expires_ms, digest = row
    return FileRecord(
        file,
        owner,
        blob,
        size,
        offset,
        bytes.fromhex(metadata),
        created_ms,
        expires_ms,
        bytes.fromhex(digest) or None,
    )
