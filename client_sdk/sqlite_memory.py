"""A memory in a small SQLite file, through the standard library.

One connection, and a lock on the file that keeps others out from open to close. A write-ahead log with
``synchronous=FULL`` makes a commit one sync of the disk: 4 ms on a busy one, where a rollback journal took
16. Its known fault in versions before 3.51.3, which may be the robot's, needs a second connection. A log with
a flipped bit is found before SQLite silently drops the rest (`sqlite_wal`), and rows carry a checksum, since
SQLite's own check does not look into values.

The statements are short and few, and stand here where they are used.
"""

import contextlib
import os
import secrets
import sqlite3
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from client_sdk.durable import sync_folder
from client_sdk.errors import MemoryFileError
from client_sdk.memory import (
    Bound,
    Change,
    Drop,
    Keep,
    KeptRecord,
    KeptSend,
    Owner,
    Place,
    Recollection,
)
from client_sdk.sqlite_wal import find_damage
from client_sdk.volatile_memory import belongs_to

APPLICATION_ID: Final = 0x494D726D  # "IMrm"
VERSION: Final = 2
_WITHOUT_RECORDS: Final = 1

_PRAGMAS: Final = (
    "PRAGMA locking_mode = EXCLUSIVE",  # and the log's index needs no file
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
)
_RECORDS: Final = """CREATE TABLE record (
        name TEXT PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID"""
_SCHEMA: Final = (
    "CREATE TABLE owner (robot TEXT NOT NULL, device TEXT NOT NULL, server TEXT)",
    """CREATE TABLE send (
        number INTEGER PRIMARY KEY, conv TEXT NOT NULL, cid TEXT NOT NULL, kind TEXT NOT NULL,
        ref INTEGER, body BLOB NOT NULL, created_ms INTEGER NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE place (
        conv TEXT PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL, checksum INTEGER NOT NULL
        ) WITHOUT ROWID""",
    _RECORDS,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


class SqliteMemory:
    """A `Memory` in the file at ``path``, which is made with mode 0600 if it is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None

    def open(self, owner: Owner) -> Recollection:
        with self._errors_told():
            if not self._path.exists():
                self._create(owner)
            self._lock = _lock(self._path)
            try:
                self._check_files()
                connection = self._connection = sqlite3.connect(
                    self._path, timeout=0, isolation_level=None
                )
                self._check_form(connection)
                return self._recall(connection, owner)
            except BaseException:
                self.close()
                raise

    def write(self, changes: Sequence[Change]) -> None:
        connection = self._connection
        if connection is None:
            raise MemoryFileError(f"the memory {self._path} is closed; open it first")
        try:
            with self._errors_told():
                connection.execute("BEGIN IMMEDIATE")
                for change in changes:
                    _apply(connection, change)
                connection.execute("COMMIT")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _create(self, owner: Owner) -> None:
        """Make the file beside its place and link it in: it appears whole or not at all."""
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
                connection.execute("BEGIN")
                for statement in _SCHEMA:
                    connection.execute(statement)
                row = (owner.robot, owner.device)
                connection.execute("INSERT INTO owner VALUES (?, ?, NULL)", row)
                connection.execute("COMMIT")
            # If another process was quicker, its file counts.
            with contextlib.suppress(FileExistsError):
                self._path.hardlink_to(draft)
        finally:
            draft.unlink()
        sync_folder(self._path.parent)

    def _recall(self, connection: sqlite3.Connection, owner: Owner) -> Recollection:
        for pragma in _PRAGMAS:
            connection.execute(pragma).fetchall()
        connection.execute("BEGIN EXCLUSIVE")
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
        if problems != ["ok"]:
            raise self._damaged("; ".join(problems))
        owners = connection.execute("SELECT robot, device, server FROM owner").fetchall()
        if len(owners) != 1:
            raise self._damaged(f"it names {len(owners)} owners")
        robot, device, server = owners[0]
        if (robot, device) != (owner.robot, owner.device):
            raise belongs_to(Owner(robot, device), owner, f"the memory {self._path}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == _WITHOUT_RECORDS:
            connection.execute(_RECORDS)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        sends = connection.execute("SELECT * FROM send ORDER BY number")
        places = connection.execute("SELECT * FROM place")
        records = connection.execute("SELECT * FROM record")
        recollection = Recollection(
            server,
            [KeptSend(*self._checked(row)) for row in sends],
            [Place(*self._checked(row)) for row in places],
            dict(self._checked(row) for row in records),
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # as `sqlite_wal` needs it
        return recollection

    def _check_files(self) -> None:
        """Look at the files as they lie there: opening them would change them."""
        if self._path.stat().st_size == 0:
            raise self._damaged("it is empty")
        damage = find_damage(self._path.with_name(f"{self._path.name}-wal"))
        if damage is not None:
            raise self._damaged(damage)

    def _check_form(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise MemoryFileError(
                f"{self._path} is no robot's memory; name a file that is, or one that is not there yet"
            )
        if version not in (_WITHOUT_RECORDS, VERSION):
            raise MemoryFileError(
                f"the memory {self._path} was written by a newer version of this SDK (form {version}, and "
                f"this one knows {VERSION}): update the SDK"
            )

    def _checked(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        *values, checksum = row
        if _checksum(values) != checksum:
            raise self._damaged(f"a row does not match its checksum: {values[:3]}")
        return tuple(values)

    def _damaged(self, how: str) -> MemoryFileError:
        return MemoryFileError(
            f"the memory {self._path} is damaged: {how}. Move it away, and {self._path.name}-wal if that is "
            "there, to start without it: sends that wait in it may be lost, and events since the server's "
            "last cursor come again"
        )

    def _in_use(self) -> MemoryFileError:
        return MemoryFileError(
            f"the memory {self._path} is in use by another robot or process; give each its own"
        )

    @contextlib.contextmanager
    def _errors_told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise self._translated(exc) from exc
        except BlockingIOError as exc:
            raise self._in_use() from exc
        except OSError as exc:
            raise MemoryFileError(f"cannot use the memory {self._path}: {exc.strerror}") from exc

    def _translated(self, exc: sqlite3.Error) -> MemoryFileError:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return self._in_use()
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._damaged(str(exc))
        return MemoryFileError(f"cannot use the memory {self._path}: {exc}")


def _apply(connection: sqlite3.Connection, change: Change) -> None:
    match change:
        case Keep():
            row = _checked_row(change.send)
            connection.execute("INSERT INTO send VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        case Drop():
            connection.execute("DELETE FROM send WHERE number = ?", (change.number,))
        case Place():
            connection.execute("REPLACE INTO place VALUES (?, ?, ?, ?)", _checked_row(change))
        case Bound():
            connection.execute("UPDATE owner SET server = ?", (change.server,))
        case KeptRecord(name=name, value=None):
            connection.execute("DELETE FROM record WHERE name = ?", (name,))
        case KeptRecord():
            connection.execute("REPLACE INTO record VALUES (?, ?, ?)", _checked_row(change))


def _checked_row(record: KeptSend | Place | KeptRecord) -> tuple[Any, ...]:
    values = msgspec.structs.astuple(record)
    return (*values, _checksum(values))


def _checksum(values: Sequence[Any]) -> int:
    return zlib.crc32(msgspec.msgpack.encode(values))


def _lock(path: Path) -> int | None:
    """Return a descriptor that keeps others out until it is closed; None where SQLite's lock must do."""
    if sys.platform == "win32":
        return None
    import fcntl  # noqa: PLC0415  (it is not everywhere)

    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
