"""What ``imserver keys`` does with an embedded store: tells which keys are in use, and works on it at rest.

Everything blocks.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import apsw

from imserver.core.errors import DataDirectoryBusy, KeyRingUnusable, StoreCorrupt, StoreUnavailable
from imserver.core.key_ring import KeyId, KeyRing
from imserver.data.key_ring_file import KeyRingFile
from imserver.data.sealing import EventSeal
from imserver.data.sqlite.file import StoreLock, is_damage, open_for_reading
from imserver.data.sqlite.resealing import Resealing, Uses, required_keys, uses
from imserver.data.sqlite.writer import StoreHealth, Writer

T = TypeVar("T")

_IN_USE: Final = (
    "key {key} cannot be removed: {count:,} bodies are sealed with it. A running server seals them anew with "
    "the current key, once it has been told of that (SIGHUP, or a restart); see `imserver keys list`"
)
_MAY_BE_USED: Final = (
    "key {key} cannot be removed yet: 0 bodies are sealed with it now, but the server that runs has not gone "
    "through all of them, or has not been told of the current key (SIGHUP)"
)


def count_uses(path: Path) -> Uses:
    """Count the bodies of the store in ``path`` by what they are sealed with; takes time with its size.

    Raises:
        StoreCorrupt, StoreUnavailable: it cannot be read.
    """
    return _asked(path, uses)


def keys_required(path: Path) -> set[KeyId]:
    """Return the keys without which some bodies of the store in ``path`` may not be readable.

    Raises:
        StoreCorrupt, StoreUnavailable: it cannot be read.
    """
    return _asked(path, required_keys)


def remove_key(path: Path, file: KeyRingFile, key: KeyId) -> None:
    """Take ``key`` out of the ring, if nothing in the store in ``path`` (if there is one) needs it.

    While a server runs, it must have gone through all bodies first, and so must know of the current key.

    Raises:
        KeyRingUnusable: it is in use, and how often; or it is the current one, or not in the ring.
        StoreCorrupt, StoreUnavailable: the store cannot be read.
    """
    if not path.exists():
        file.remove(key)
        return
    count = count_uses(path).keys.get(key, 0)
    if count:
        raise KeyRingUnusable(_IN_USE.format(key=key, count=count))
    try:
        _with_lock(path, lambda: _dismiss(path, key))
    except DataDirectoryBusy:
        # Of a server that runs the store says with which keys it may seal.
        if key in keys_required(path):
            raise KeyRingUnusable(_MAY_BE_USED.format(key=key)) from None
    file.remove(key)


def unseal(path: Path, ring: KeyRing) -> None:
    """Store all bodies of ``path`` as they were before they were sealed. No server may run.

    Raises:
        DataDirectoryBusy: a server is running on it.
        KeyRingUnusable: the ring lacks a key, or there are sealed files.
        StoreCorrupt, StoreUnavailable, StoreFailed: it cannot be read or written.
    """

    def work(writer: Writer) -> None:
        resealing = Resealing(EventSeal(ring))
        writer.transact(resealing.begin_unsealing)
        while not writer.transact(resealing.step).is_done:
            writer.rest(idle=False)

    _with_lock(path, lambda: _at_rest(path, ring, work))


def wipe(path: Path) -> None:
    """Have nothing that was plain before lie in free places of the file or beside it. No server may run.

    Raises:
        DataDirectoryBusy: a server is running on it.
        StoreCorrupt, StoreUnavailable, StoreFailed: it cannot be read or written.
    """

    def work(writer: Writer) -> None:
        if not writer.wipe(anew=True):
            raise StoreUnavailable(f"somebody reads {path}; end that, and say it again")
        writer.transact(Resealing(None).wiped)

    _with_lock(path, lambda: _at_rest(path, None, work))


def _with_lock(path: Path, work: Callable[[], None]) -> None:
    lock = StoreLock(path)
    try:
        work()
    finally:
        lock.release()


def _dismiss(path: Path, key: KeyId) -> None:
    """Have the store of no server say that nothing is sealed with ``key``."""
    count = count_uses(path).keys.get(key, 0)
    if count:
        raise KeyRingUnusable(_IN_USE.format(key=key, count=count))
    dismiss = partial(Resealing(None).dismiss, key=key)
    _at_rest(path, None, lambda writer: writer.transact(dismiss))


def _at_rest(path: Path, ring: KeyRing | None, work: Callable[[Writer], None]) -> None:
    writer = Writer(path, "full", StoreHealth(), None if ring is None else EventSeal(ring))
    try:
        work(writer)
    finally:
        writer.close()


def _asked(path: Path, question: Callable[[apsw.Connection], T]) -> T:
    """Return what is found out from a store beside the server that runs on it."""
    db = open_for_reading(path)
    try:
        return question(db)
    except apsw.Error as exc:
        if is_damage(exc):
            raise StoreCorrupt(f"{path} is damaged ({exc}); see `imserver check`") from exc
        raise StoreUnavailable(f"{path} cannot be read now: {exc}") from exc
    finally:
        db.close()
