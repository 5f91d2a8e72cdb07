"""An embedded store, and the files beside it, as a place to move from or to; see `imserver.data.moving`.

A target is filled in a draft beside the database's place, in one transaction, and the bytes of its files
where they belong. The draft becomes the database at the end, when all is durable. While it is there, the
bytes are those of a move that is under way, or broke off: the next one begins with none of either.
"""

import os
import shutil
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Self

import apsw
from msgspec import Raw, structs

from imserver.core.errors import StoreCorrupt, StoreUnavailable
from imserver.core.file_settings import FileSettings
from imserver.core.files import FileRecord
from imserver.core.key_ring import OVERHEAD, sealed_with
from imserver.data.directory import DataDirectory
from imserver.data.disk.content import DiskContent
from imserver.data.moving import Row, Sealing, Size, in_steps
from imserver.data.sealing import number_of
from imserver.data.sqlite.file import (
    StoreLock,
    cannot_open,
    open_for_reading,
    open_for_writing,
)
from imserver.data.sqlite.resealing import words_of
from imserver.data.sqlite.rows import amends, as_sealed, pack, pack_sealed, unpack
from imserver.data.sqlite.statements import load_statements
from imserver.data.sqlite.wal import find_damage
from imserver.protocol.events import Event

_SQL: Final = load_statements(__package__, "moving.sql")
_DRAFT: Final = "moving"


class SqliteRows:
    """The rows of an embedded store that no server runs on. Made by `source` or `target`.

    Attributes:
        content: the bytes of its files.
    """

    def __init__(self, db: apsw.Connection, lock: StoreLock, directory: DataDirectory) -> None:
        self._db = db
        self._lock = lock
        self._directory = directory
        self.content = DiskContent(
            directory.files_path,
            free_bytes_min=FileSettings().free_bytes_min,
            on_failure=lambda _reason: None,  # the error ends the move
        )

    @classmethod
    async def source(cls, directory: DataDirectory) -> Self:
        """Open a store to move away from.

        Raises:
            DataDirectoryBusy: a server runs on it.
            StoreCorrupt, StoreUnavailable: it has lost its end, or cannot be read.
        """
        path = directory.database_path
        if not path.exists():
            raise StoreUnavailable(f"there is no store in {directory.path}")
        lock = StoreLock(path)
        try:
            damage = find_damage(path)
            if damage is not None:
                raise StoreCorrupt(
                    f"{path} has lost its end ({damage}); see `imserver accept-loss`"
                )
            rows = cls(open_for_reading(path), lock, directory)
            await rows.content.start()
        except BaseException:
            lock.release()
            raise
        return rows

    @classmethod
    async def target(cls, directory: DataDirectory) -> Self:
        """Make a store to move to, beside its place.

        Raises:
            StoreUnavailable: there is one already, or files of one, or it cannot be made.
        """
        path = directory.database_path
        lock = StoreLock(path)
        try:
            _make_room(directory)
            rows = cls(open_for_writing(_draft_of(path), "os", statements=32), lock, directory)
            rows._db.execute("BEGIN")
            await rows.content.start()
        except BaseException:
            lock.release()
            raise
        return rows

    async def epoch(self) -> str:
        text: str = self._db.execute(_SQL["epoch"]).get
        return text

    async def size(self) -> Size:
        row: Any = self._db.execute(_SQL["size"]).fetchone()
        return Size(*row)

    async def sealing(self) -> Sealing:
        text: str | None = self._db.execute(_SQL["file_key"]).get
        file_key = None if text is None else bytes.fromhex(text)
        return Sealing(frozenset(words_of(self._db)), file_key)

    async def rows(self, table: str) -> AsyncIterator[list[Row]]:
        """Yield the rows of a table; see `Source.rows`."""
        async for step in self._steps(f"read_{table}"):
            yield list(map(_event_out, step)) if table == "events" else step

    async def files(self) -> AsyncIterator[list[FileRecord]]:
        """Yield the files; see `Source.files`."""
        async for step in self._steps("read_files"):
            yield [FileRecord(*row) for row in step]

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        if table == "events":
            rows = list(map(_event_in, rows))
        self._db.executemany(_SQL[f"put_{table}"], rows)

    async def put_files(self, files: Sequence[FileRecord]) -> list[FileRecord]:
        return [file for file in files if self._put_file(file)]

    async def finish(self, epoch: str, sealing: Sealing) -> None:
        self._put_meta("epoch", epoch)
        self._put_meta("sealed_with", " ".join(sorted(sealing.words)))
        if sealing.file_key is not None:
            self._put_meta("file_key", sealing.file_key.hex())
            self._put_meta("file_key_sealed", str(number_of(sealed_with(sealing.file_key))))
        self._db.execute("COMMIT")
        self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._db.close()
        path = self._directory.database_path
        draft = _draft_of(path)
        _sync(draft)
        draft.rename(path)
        _remove_draft(path)
        _sync(path.parent)

    async def aclose(self) -> None:
        """Let go of the store."""
        await self.content.aclose()
        self._db.close()
        self._lock.release()

    async def _steps(self, statement: str) -> AsyncIterator[list[Row]]:
        try:
            found: Iterable[Row] = self._db.execute(_SQL[statement])
            for step in in_steps(found):
                yield step
        except apsw.Error as exc:
            raise cannot_open(self._directory.database_path, exc) from exc

    def _put_file(self, file: FileRecord) -> bool:
        """Take in a file; tell whether its bytes are to come. Here, but not everywhere, one content is one
        blob."""
        shared = None
        if file.digest is not None:
            shared = self._db.execute(_SQL["blob_of_content"], (file.digest, file.size)).get
        if shared is None:
            self._db.execute(_SQL["put_blob"], (file.blob, file.size, file.digest))
        values = structs.astuple(structs.replace(file, blob=shared or file.blob))
        self._db.execute(_SQL["put_file"], values[:8])
        return shared is None

    def _put_meta(self, name: str, value: str) -> None:
        self._db.execute(_SQL["put_meta"], (name, value))


def _event_out(row: Row) -> Row:
    conv, key, packed = row
    event = unpack(packed)
    if key is not None:
        event = as_sealed(event)
    fields = (event.sender, event.cid, event.kind, event.ref)
    return (conv, event.seq, event.ts, *fields, key, bytes(event.body))


def _event_in(row: Row) -> Row:
    conv, seq, ts, sender, cid, kind, ref, key, body = row
    event = Event(seq, ts, sender, cid, kind, Raw(body), ref)
    packed = pack(event) if key is None else pack_sealed(event, body)
    size = len(body) - (0 if key is None else OVERHEAD)
    return (conv, seq, sender, cid, amends(kind, ref), size, key, packed)


def _make_room(directory: DataDirectory) -> None:
    """Remove what a move that broke off has left; refuse where there is anything else."""
    path, files = directory.database_path, directory.files_path
    if path.exists():
        raise StoreUnavailable(f"{directory.path} holds a store already; name an empty directory")
    if _draft_of(path).exists():
        shutil.rmtree(files, ignore_errors=True)
        _remove_draft(path)
    if files.exists():
        raise StoreUnavailable(f"{files} is there, without its store; name an empty directory")


def _draft_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.{_DRAFT}")


def _remove_draft(path: Path) -> None:
    """Remove the draft, itself at the end: it tells whose the files are."""
    draft = _draft_of(path)
    for left in sorted(path.parent.glob(f"{draft.name}*"), reverse=True):
        left.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
