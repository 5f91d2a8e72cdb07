"""An embedded store as a place to move from or to; see `imserver.data.moving`."""

import os
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Self

import apsw

from imserver.core.errors import StoreUnavailable
from imserver.data.moving import ROWS_A_STEP, Row
from imserver.data.sqlite.file import (
    StoreLock,
    cannot_open,
    open_for_reading,
    open_for_writing,
)
from imserver.data.sqlite.statements import load_statements

_SQL: Final = load_statements(__package__, "moving.sql")


class SqliteRows:
    """The rows of an embedded store that no server runs on. Made by `source` or `target`."""

    def __init__(self, db: apsw.Connection, lock: StoreLock, path: Path) -> None:
        self._db = db
        self._lock = lock
        self._path = path
        self._place = path

    @classmethod
    def source(cls, path: Path) -> Self:
        """Open a store to move away from.

        Raises:
            DataDirectoryBusy: a server runs on it.
            StoreCorrupt, StoreUnavailable: it cannot be read, or holds what cannot be moved.
        """
        if not path.exists():
            raise StoreUnavailable(f"there is no store in {path.parent}")
        lock = StoreLock(path)
        rows = cls(open_for_reading(path), lock, path)
        rows._require_movable()
        return rows

    @classmethod
    def target(cls, path: Path) -> Self:
        """Make a store to move to, beside its place.

        Raises:
            StoreUnavailable: there is one already, or it cannot be made.
        """
        if path.exists():
            raise StoreUnavailable(f"{path.parent} holds a store already; name an empty directory")
        draft = path.with_name(f"{path.name}.moving")
        for left in path.parent.glob(f"{draft.name}*"):
            left.unlink()
        lock = StoreLock(path)
        rows = cls(open_for_writing(draft, "os", statements=32), lock, draft)
        rows._place = path
        rows._db.execute("BEGIN")
        return rows

    async def epoch(self) -> str:
        text: str = self._db.execute(_SQL["epoch"]).get
        return text

    async def count(self) -> int:
        count: int = self._db.execute(_SQL["count_events"]).get
        return count

    async def rows(self, table: str) -> AsyncIterator[list[Row]]:
        """Yield the rows of a table; see `Source.rows`."""
        try:
            found = self._db.execute(_SQL[f"read_{table}"])
            while rows := list(islice(found, ROWS_A_STEP)):
                yield rows
        except apsw.Error as exc:
            raise cannot_open(self._path, exc) from exc

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        self._db.executemany(_SQL[f"put_{table}"], rows)

    async def finish(self, epoch: str) -> None:
        self._db.execute(_SQL["put_epoch"], (epoch,))
        self._db.execute("COMMIT")
        self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._db.close()
        descriptor = os.open(self._path, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._path.rename(self._place)
        for left in self._path.parent.glob(f"{self._path.name}*"):
            left.unlink()

    def close(self) -> None:
        """Let go of the store."""
        self._db.close()
        self._lock.release()

    def _require_movable(self) -> None:
        if self._db.execute(_SQL["any_file"]).get is not None:
            raise StoreUnavailable("this store holds files, which cannot be moved yet")
        if self._db.execute(_SQL["any_sealed"]).get is not None:
            raise StoreUnavailable(
                "bodies in this store are sealed; sealed ones cannot be moved yet"
            )
