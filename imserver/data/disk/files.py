"""Files of an embedded store as a whole: looks through their bytes, and takes them along with a copy.

What is in the catalogue is told by the database, what is on the disk by the folder beside it. Blocks; called
by ``imserver check``, ``backup`` and ``restore``.
"""

import shutil
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from imserver.core.files import SEGMENT_BYTES, BlobId, thumbnail_of
from imserver.core.key_ring import OVERHEAD
from imserver.data.disk.content import blob_path, blob_paths, segments
from imserver.data.durable import sync
from imserver.data.sqlite.statements import load_statements

_SQL: Final = load_statements(__package__, "files.sql")


class Flaw(NamedTuple):
    """Something that must not be: by which rule, and where."""

    rule: str
    witness: str


def flaws(db: apsw.Connection, folder: Path) -> list[Flaw]:
    """Read the bytes of all finished files; return what is missing, damaged, or belongs to nobody.

    A server may go on beside it, so that what looks amiss is looked at again: not in one snapshot of ``db``.
    """
    found = {}
    for name, size, is_finished in _blobs(db):
        flaw = _flaw_of(folder, name, size) if is_finished else None
        if flaw is not None:
            found[name] = flaw
    strays = {path.name: path for path in blob_paths(folder)}
    there = [name for name, _, _ in _blobs(db)]
    for name in there:
        strays.pop(name, None)
        strays.pop(thumbnail_of(BlobId(name)), None)
    amiss = [found[name] for name in there if name in found]
    return amiss + [
        Flaw("stray_content", f"{path} belongs to no file")
        for path in strays.values()
        if path.exists()
    ]


def copy_files(db: apsw.Connection, source: Path, target: Path) -> list[str]:
    """Copy the bytes of all finished files of ``db``, durably; return the blobs that are not there any more.

    What is finished never changes, so that a server may go on beside it; at most it lets go of some.
    """
    gone: list[str] = []
    folders = set()
    for name, size, is_finished in _blobs(db):
        if not is_finished or not size:
            continue
        there = blob_path(target, name)
        there.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folders |= {there.parent, target}
        try:
            shutil.copyfile(blob_path(source, name), there)
        except FileNotFoundError:
            there.unlink(missing_ok=True)
            gone.append(name)
        else:
            there.chmod(0o600)
            sync(there)
    for folder in folders:
        sync(folder)
    return gone


def forget_files(db: apsw.Connection, gone: list[str]) -> None:
    """Strike from a copy what it has no bytes of: unfinished uploads, and the blobs ``gone``."""
    for name in gone:
        db.execute(_SQL["forget_files_of"], (name,))
    for statement in ("forget_unfinished", "forget_blobs", "forget_dropped"):
        db.execute(_SQL[statement])


def remove_strays(db: apsw.Connection, folder: Path) -> None:
    """Remove bytes that belong to no file of ``db``: those of a store that was replaced."""
    known = {name for name, _, _ in _blobs(db)}
    for path in list(blob_paths(folder)):
        if path.name not in known:
            path.unlink()


def _blobs(db: apsw.Connection) -> list[tuple[str, int, int]]:
    rows: list[Any] = db.execute(_SQL["blobs"]).fetchall()
    return rows


def _flaw_of(folder: Path, name: str, size: int) -> Flaw | None:
    path = blob_path(folder, name)
    if not path.is_file():
        return Flaw("missing_content", f"{path} is not there") if size else None
    kept = count = 0
    for segment in segments(path):
        if not segment.whole:
            return Flaw("damaged_content", f"segment {segment.number} of {path}")
        kept += segment.size
        count += 1
    wanted = -(-size // SEGMENT_BYTES)
    if count != wanted or kept not in (size, size + count * OVERHEAD):
        return Flaw(
            "damaged_content", f"{path} has {count} segments with {kept} bytes, not {size} bytes"
        )
    return None
