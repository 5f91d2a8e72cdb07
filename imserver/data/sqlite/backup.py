"""Copies a store while it is served, puts a copy back, and goes on with a store that lost its end.

A backup is a data directory of its own: ``imserver check --data BACKUP`` checks it, and ``serve`` would serve
it. It holds a prefix of every log. So whoever was ahead of it has seen events that are gone, whose seq
will be given again: `restore` and `accept_loss` give every conversation a new epoch, by which robots and
their SDK can tell the two apart. Everything blocks; called by the command line.
"""

import shutil
from pathlib import Path
from typing import Final

import apsw

from imserver.core.errors import (
    DataDirectoryUnusable,
    KeyRingUnusable,
    StoreCorrupt,
    StoreUnavailable,
)
from imserver.core.key_ring import KeyRing
from imserver.data.directory import (
    DATABASE_NAME,
    FILES_NAME,
    KEY_NAME,
    KEY_RING_NAME,
    SPOOL_NAME,
    DataDirectory,
)
from imserver.data.disk.files import copy_files, forget_files, remove_strays
from imserver.data.durable import sync
from imserver.data.findings import Report
from imserver.data.sqlite.check import check
from imserver.data.sqlite.file import (
    StoreLock,
    is_damage,
    load_page_checksums,
    lost_commits,
    open_for_reading,
    reserve_page_checksums,
)
from imserver.data.sqlite.keys import keys_required
from imserver.data.sqlite.wal import find_damage, index_path, is_all_copied, keep_copy, wal_path
from imserver.data.sqlite.writer import StoreHealth, Writer

_DRAFT: Final = DATABASE_NAME + ".draft"
_LEFT: Final = frozenset({KEY_NAME, KEY_RING_NAME, SPOOL_NAME, DATABASE_NAME + ".lock"})
"""What may lie in a directory that counts as empty."""


def backup(data: DataDirectory, target: Path, *, with_key: bool) -> Report:
    """Copy the store as it is at this moment into the new directory ``target``, durably, and check the copy.

    The server may go on beside it. ``with_key`` copies the deployment's key, too: whoever has it can make
    tokens, and without it a restored deployment needs new ones.

    Raises:
        DataDirectoryUnusable: ``target`` exists and is not an empty directory.
        StoreCorrupt: the store is damaged; a copy that is not sound is removed.
        StoreUnavailable: the store cannot be read.
    """
    copy = DataDirectory(target)
    _require_empty(copy, "name a new directory")
    draft = copy.path / _DRAFT
    try:
        _copy_database(data.database_path, draft)
        _copy_files(draft, data.files_path, copy.files_path)
        if with_key:
            _copy_file(data.key_path, copy.key_path)
            copy.key_path.chmod(0o600)
        report = check(draft)
        if report.findings:
            raise StoreCorrupt(_unsound(data.database_path, report))
        _tidy(draft)
        draft.rename(copy.database_path)
    except BaseException:
        draft.unlink(missing_ok=True)
        _tidy(draft)
        raise
    sync(copy.path)
    return report


def restore(
    source: Path, data: DataDirectory, *, ring: KeyRing | None = None, force: bool
) -> Report:
    """Put the backup ``source`` (its directory or its database) into ``data``, durably, with a new epoch.

    ``force`` replaces a store that is there, and takes a backup that is not quite sound, or that cannot be
    opened with the ``ring``. The directory's own key stays; else the backup's is taken if it has one.

    Raises:
        DataDirectoryUnusable: ``data`` is not empty, or there is no backup in ``source``.
        DataDirectoryBusy: a server is running on ``data``.
        KeyRingUnusable: bodies in the backup are sealed with a key that is not in the ring.
        StoreCorrupt: the backup is damaged.
    """
    folder = source if source.is_dir() else source.parent
    database = folder / DATABASE_NAME if source.is_dir() else source
    if not database.is_file():
        raise DataDirectoryUnusable(f"there is no backup in {source}; name the directory of one")
    if not force:
        _require_empty(data, "name another directory, or say --force to replace what is there")
    lock = StoreLock(data.database_path)
    try:
        return _restore(database, data, ring=ring, force=force)
    finally:
        lock.release()


def accept_loss(data: DataDirectory) -> Report | None:
    """Go on with what can still be read: every conversation gets a new epoch; None if nothing is lost.

    A damaged write-ahead log is kept beside the store.

    Raises:
        DataDirectoryBusy: a server is running on ``data``.
        StoreCorrupt: what is left is damaged itself; only a backup helps.
    """
    path = data.database_path
    lock = StoreLock(path)
    try:
        is_damaged = find_damage(path) is not None
        if is_damaged:
            _cut_wal(path)
        writer = Writer(path, "full", StoreHealth())
        try:
            is_lost = is_damaged or writer.halted() > 0
            if is_lost:
                writer.begin_epoch()
        finally:
            writer.close()
        sync(data.path)
        report = check(path) if is_lost else None
        for beside in (wal_path(path), index_path(path)):
            beside.unlink(missing_ok=True)  # the check's; the store was closed before it
    finally:
        lock.release()
    return report


def _restore(database: Path, data: DataDirectory, *, ring: KeyRing | None, force: bool) -> Report:
    draft = data.path / _DRAFT
    for stale in (draft, wal_path(draft), index_path(draft)):
        stale.unlink(missing_ok=True)
    _copy_database(database, draft)
    _copy_files(draft, database.with_name(FILES_NAME), data.files_path)
    report = check(draft, ring)
    if report.findings and not force:
        _remove(draft)
        raise StoreCorrupt(_unsound(database, report))
    missing = keys_required(draft).difference(ring.ids if ring else ())
    if missing and not force:
        _remove(draft)
        raise KeyRingUnusable(
            f"bodies in {database} are sealed with key {', '.join(sorted(missing))}, which is not in "
            f"{'the key ring' if ring else 'a key ring here'}; put the ring that has it to "
            f"{data.key_ring_path} or name it with --keys, or say --force and bring it before you serve"
        )
    _begin_epoch(draft)
    _tidy(draft)
    if not data.key_path.exists() and (database.parent / KEY_NAME).is_file():
        _copy_file(database.parent / KEY_NAME, data.key_path)
        data.key_path.chmod(0o600)
    # The old log must never meet the new database: it goes first.
    for old in (data.database_path, wal_path(data.database_path), index_path(data.database_path)):
        old.unlink(missing_ok=True)
    sync(data.path)
    draft.rename(data.database_path)
    sync(data.path)
    _remove_strays(data)
    return report


def _copy_files(draft: Path, source: Path, target: Path) -> None:
    """Bring the bytes of files to a copy of the store, and strike from it what has none."""
    writer = Writer(draft, "full", StoreHealth())
    try:
        writer.transact(lambda db: forget_files(db, copy_files(db, source, target)))
    finally:
        writer.close()


def _remove_strays(data: DataDirectory) -> None:
    db = open_for_reading(data.database_path)
    try:
        remove_strays(db, data.files_path)
    finally:
        db.close()


def _begin_epoch(path: Path) -> None:
    writer = Writer(path, "full", StoreHealth())
    try:
        writer.begin_epoch()
    finally:
        writer.close()


def _copy_database(source: Path, target: Path) -> None:
    damage = lost_commits(source)
    if damage is not None:
        raise StoreCorrupt(f"{wal_path(source)}: {damage}")
    reading = open_for_reading(source)
    load_page_checksums()
    try:
        writing = apsw.Connection(str(target))
        try:
            reserve_page_checksums(writing)
            # One step: one snapshot, however much is written meanwhile.
            with writing.backup("main", reading, "main") as copying:
                copying.step(-1)
        finally:
            writing.close()
    except apsw.Error as exc:
        if is_damage(exc):
            raise StoreCorrupt(f"{source} is damaged ({exc}); see `imserver check`") from exc
        raise StoreUnavailable(f"{source} cannot be copied to {target}: {exc}") from exc
    finally:
        reading.close()
    sync(target)


def _cut_wal(path: Path) -> None:
    """Bring what is whole in a damaged WAL into the database, and remove the rest."""
    copy = keep_copy(path)
    if copy is None or is_all_copied(path):
        wal_path(path).unlink(missing_ok=True)
        index_path(path).unlink(missing_ok=True)
        return
    index_path(path).unlink(missing_ok=True)
    load_page_checksums()
    try:
        db = apsw.Connection(str(path))
        try:
            db.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # which opens the WAL
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            db.close()
    except apsw.Error as exc:
        raise StoreCorrupt(
            f"{path} is too damaged to go on with ({exc}); restore a backup"
        ) from exc


def _require_empty(directory: DataDirectory, advice: str) -> None:
    if {entry.name for entry in directory.path.iterdir()} - _LEFT:
        raise DataDirectoryUnusable(f"{directory.path} is not empty; {advice}")


def _unsound(database: Path, report: Report) -> str:
    first = report.findings[0]
    return f"{database} is not sound ({first.meaning}: {first.witnesses[0]}); see `imserver check`"


def _copy_file(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    sync(target)


def _remove(database: Path) -> None:
    database.unlink(missing_ok=True)
    _tidy(database)


def _tidy(database: Path) -> None:
    """Remove what readers of a draft left beside it."""
    for beside in (wal_path(database), index_path(database)):
        beside.unlink(missing_ok=True)
    database.with_name(database.name + ".lock").unlink(missing_ok=True)
