"""Opens the file of an embedded store: its lock, its connections, its schema.

The lock is a file of its own beside the database, held with flock(2): the kernel lets go of it however the
process ends. Readers that only look (``imserver check``) do not take it.

Every page ends with a checksum of 8 bytes, which SQLite's extension ``cksumvfs`` writes and verifies whenever
the page is read from the file (it costs less than can be measured). So a flipped bit cannot be read as
something else: it is an error where it is met. A store of up to `_VERIFIED_BYTES_MAX` is read whole when it
is opened, 1.2 s a GiB, and a damaged one refused; of a larger one the damage shows when it is read.
"""

import fcntl
import logging
import os
import secrets
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

import apsw
from apsw import sqlite_extra

from imserver.core.errors import (
    DataDirectoryBusy,
    ImserverError,
    StoreCorrupt,
    StoreTooNew,
    StoreUnavailable,
)
from imserver.data.sqlite.statements import load_script, load_statements
from imserver.data.sqlite.wal import Damage, find_damage, keep_copy, wal_path
from imserver.data.sqlite.wal_index import WriterConnection

Durability: TypeAlias = Literal["full", "os"]
"""``full``: a commit outlives a power cut. ``os``: it outlives the process, not the machine."""

SCHEMA_VERSION: Final = 4
SEQ_BITS: Final = 38
"""How far the conversation's id is shifted in ``events.key``; see the schema."""

_APPLICATION_ID: Final = 0x696D7376  # "imsv", by which file(1) and we know our own
_PAGE_BYTES: Final = 4096
_PAGE_CHECKSUM_BYTES: Final = 8
_VERIFIED_BYTES_MAX: Final = 512 * 1024 * 1024
_DAMAGED_PAGES_MAX: Final = 5
_SYNCHRONOUS: Final[dict[Durability, str]] = {"full": "FULL", "os": "NORMAL"}
_WRITER_CACHE_KIB: Final = 8_192  # SQLite looks through all of it after most commits
_READER_CACHE_KIB: Final = 4_096  # pages are read in order: the system's own cache serves them
_WAL_BYTES_KEPT: Final = 64 * 1024 * 1024
_WRITES: Final = load_statements(__package__, "writes.sql")
_log: Final = logging.getLogger(__name__)


_WAY_OUT: Final = (
    "see `imserver check`, restore a backup, or take what is whole with `imserver accept-loss`"
)


class StoreLock:
    """The right to write a database file, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            DataDirectoryBusy: another process, or another store of this one, holds it.
            StoreUnavailable: the lock file cannot be made.
        """
        lock_path = path.with_name(path.name + ".lock")
        try:
            self._file = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StoreUnavailable(f"cannot lock the store {path}: {exc.strerror}") from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise DataDirectoryBusy(
                f"the store {path} is in use by another server; stop that one, or choose another "
                "data directory"
            ) from None

    def release(self) -> None:
        """Let go. The lock file stays: removing it would let two processes lock two different files."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def open_for_writing(path: Path, durability: Durability, *, statements: int) -> apsw.Connection:
    """Open the database, make it if it is new, and return the connection of its one writer.

    Args:
        path: the database file.
        durability: what a commit outlives.
        statements: how many statements the connection keeps prepared.

    Raises:
        StoreCorrupt: the file is damaged or is not a store.
        StoreTooNew: a newer version wrote it.
        StoreUnavailable: it cannot be opened or written.
    """
    load_page_checksums()
    _refuse_damaged_wal(path, durability)
    try:
        db = WriterConnection(str(path), statementcachesize=statements)
        try:
            _prepare_writer(db, path, durability)
            db.reserve_wal_index(path)
        except BaseException:
            db.close()
            raise
    except apsw.Error as exc:
        raise cannot_open(path, exc) from exc
    return db


def open_for_reading(path: Path) -> apsw.Connection:
    """Open another connection to an existing store, for reads alone.

    Raises:
        StoreCorrupt, StoreTooNew, StoreUnavailable: as for `open_for_writing`.
    """
    load_page_checksums()
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            _plan_once(db)
            _set(db, f"cache_size = -{_READER_CACHE_KIB}", "mmap_size = 0", "query_only = 1")
            check_version(db, path)
        except BaseException:
            db.close()
            raise
    except apsw.Error as exc:
        raise cannot_open(path, exc) from exc
    return db


def lost_commits(path: Path) -> Damage | None:
    """Look through the WAL that a dead process left; a living one keeps its own in order.

    To be asked before SQLite opens the file: its index of the WAL is evidence, and would be made anew.

    Raises:
        OSError: the WAL cannot be read.
    """
    if not path.exists():
        return None
    try:
        lock = StoreLock(path)
    except DataDirectoryBusy:
        return None
    except StoreUnavailable:
        return find_damage(path)  # a folder that we may not write in has no server of ours
    try:
        return find_damage(path)
    finally:
        lock.release()


@cache
def load_page_checksums() -> None:
    """Load the extension that keeps checksums of pages, for all connections of this process.

    Raises:
        StoreUnavailable: this build of apsw comes without it.
    """
    try:
        sqlite_extra.load(apsw.Connection(":memory:"), "cksumvfs")
    except (sqlite_extra.NotAvailable, LookupError, apsw.Error) as exc:
        raise StoreUnavailable(
            "apsw was built without SQLite's cksumvfs, which guards the store's pages; install apsw from "
            "its wheel on PyPI"
        ) from exc


def reserve_page_checksums(db: apsw.Connection) -> None:
    """Let a new database end each of its pages with a checksum, from the first page that is written.

    ``cksumvfs`` learns from page 1 that a file has checksums. A page that is copied in before that, because
    the cache was full, keeps the bytes it had in the other's write-ahead log, where there are none.
    """
    db.reserve_bytes("main", _PAGE_CHECKSUM_BYTES)
    for statement in ("CREATE TABLE first_page (id)", "DROP TABLE first_page"):
        db.execute(statement)


def is_damage(exc: apsw.Error) -> bool:
    """Tell whether an error says that the file does not hold what was written to it."""
    is_page = extended_code(exc) == apsw.SQLITE_IOERR_DATA
    return is_page or isinstance(exc, apsw.CorruptError | apsw.NotADBError)


def damaged_pages(path: Path) -> list[int]:
    """Return the numbers of pages, from 1, whose checksum in the file is wrong; at most the first few.

    Looks at the file alone: a page that a power cut tore in a checkpoint stands whole in the WAL.
    """
    load_page_checksums()
    db = apsw.Connection(":memory:")
    found: list[int] = []
    number = 0
    with path.open("rb") as file:
        while len(found) < _DAMAGED_PAGES_MAX and (page := file.read(_PAGE_BYTES)):
            number += 1
            if len(page) < _PAGE_BYTES or not db.execute("SELECT verify_checksum(?)", (page,)).get:
                found.append(number)
    db.close()
    return found


def extended_code(exc: apsw.Error) -> int:
    """Return SQLite's extended result code of an error, which apsw's type stubs do not know."""
    code: int = getattr(exc, "extendedresult", apsw.SQLITE_ERROR)
    return code


def check_version(db: apsw.Connection, path: Path) -> None:
    """Return if this version reads and writes the schema of ``db``.

    Raises:
        StoreCorrupt: it is not a store, or does not say which schema it has.
        StoreTooNew: a newer version wrote it.
    """
    if db.pragma("application_id") != _APPLICATION_ID:
        raise StoreCorrupt(f"{path} is an SQLite file, but not a store of imserver")
    text = db.execute(_WRITES["meta"], ("schema_version",)).get
    if not isinstance(text, str) or not text.isdecimal():
        raise StoreCorrupt(f"{path} has no readable schema version, but {text!r} in its place")
    if int(text) > SCHEMA_VERSION:
        raise StoreTooNew(
            f"{path} has schema {text} and this version of imserver knows schema {SCHEMA_VERSION}; "
            "run the version that wrote it, or a newer one"
        )
    if int(text) < SCHEMA_VERSION:
        raise StoreCorrupt(
            f"{path} has schema {text}, and this version of imserver reads schema {SCHEMA_VERSION} alone; "
            "run the version that wrote it"
        )


def cannot_open(path: Path, exc: apsw.Error) -> ImserverError:
    """Return what to raise where a store cannot be opened for ``exc``."""
    if not is_damage(exc):
        return StoreUnavailable(f"cannot open the store {path}: {exc}")
    return StoreCorrupt(f"{path} is damaged or not an SQLite file ({exc}); {_WAY_OUT}")


def _refuse_damaged_wal(path: Path, durability: Durability) -> None:
    """Keep SQLite from opening a WAL whose end it would drop without a word.

    With durability ``os`` commits are not synced one by one, and a power cut may leave any of them bad.
    """
    try:
        damage = find_damage(path)
        if damage is None:
            return
        copy = keep_copy(path)
    except OSError as exc:
        raise StoreUnavailable(f"cannot read {wal_path(path)}: {exc.strerror}") from exc
    text = f"{wal_path(path)}: {damage}"
    if copy is not None:
        text += f". It is kept as {copy}"
    if durability == "full":
        raise StoreCorrupt(f"{text}; {_WAY_OUT}")
    _log.error("store.wal_damaged", extra={"path": str(path), "damage": str(damage)})


def _verify_pages(db: apsw.Connection, path: Path) -> None:
    """Read every page of a store that is not large, so that damage keeps it from being served.

    Raises:
        StoreCorrupt: and where.
    """
    if path.stat().st_size > _VERIFIED_BYTES_MAX:
        return
    try:
        rows = db.execute(f"PRAGMA quick_check({_DAMAGED_PAGES_MAX})").fetchall()
        places = [str(text).replace("\n", ", ") for (text,) in rows if text != "ok"]
    except apsw.Error as exc:
        if not is_damage(exc):
            raise
        places = [f"page {number}" for number in damaged_pages(path)] or [str(exc)]
    if places:
        raise StoreCorrupt(f"{path} is damaged at {'; '.join(places)}; {_WAY_OUT}")


def _plan_once(db: apsw.Connection) -> None:
    """Have a statement planned when it is prepared, and not again for each value that it is given.

    Nothing is known here about how values are spread (no ANALYZE), so the plan stays the same; and making it
    takes seven times as long as what a robot that comes online needs, which is a few rows.
    """
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def _prepare_writer(db: apsw.Connection, path: Path, durability: Durability) -> None:
    db.reserve_bytes("main", _PAGE_CHECKSUM_BYTES)
    _plan_once(db)
    # The last connection to close would checkpoint by itself, also after a failed fsync, when it must not.
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    _set(
        db,
        f"page_size = {_PAGE_BYTES}",
        "journal_mode = WAL",
        f"synchronous = {_SYNCHRONOUS[durability]}",
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {_WAL_BYTES_KEPT}",
        f"cache_size = -{_WRITER_CACHE_KIB}",
        "mmap_size = 0",
        "temp_store = MEMORY",
        "foreign_keys = 1",
    )
    if db.execute("SELECT count(*) FROM sqlite_schema").get == 0:
        _make_schema(db)
    check_version(db, path)
    _verify_pages(db, path)


def _make_schema(db: apsw.Connection) -> None:
    with db:
        db.execute(load_script(__package__, "schema.sql"))
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute(_WRITES["put_meta"], ("schema_version", str(SCHEMA_VERSION)))
        db.execute(_WRITES["put_meta"], ("epoch", secrets.token_hex(8)))
        db.execute(_WRITES["put_meta"], ("sealed_with", ""))


def _set(db: apsw.Connection, *pragmas: str) -> None:
    # A statement that answers a row stops a script there: each runs by itself.
    for pragma in pragmas:
        db.execute(f"PRAGMA {pragma}").fetchall()
