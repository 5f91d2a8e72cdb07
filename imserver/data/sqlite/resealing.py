"""Brings every body of an embedded store under the current key, in steps, beside its traffic.

How it goes. The store remembers, in its table ``meta``, with what its bodies may be sealed (``sealed_with``:
key ids, and ``plain`` for bodies that are not sealed). When a server opens it, all those keys must be in its
ring, and the current one is added before the first body is sealed with it. While there are others than the
current one, the rows are gone through in the order of the file, a bounded step at a time: each is one
transaction that seals a few rows anew and notes how far it came (``resealed``). Rows that come meanwhile are
sealed with the current key, wherever they go. So a crash at any point loses nothing, and the next server
goes on where this one was. After the last row only the current key is left in ``sealed_with``, and the
others may be removed from the ring.

What the old bytes leave behind is wiped: SQLite overwrites what it deletes (``secure_delete``), and the
write-ahead log is emptied at the end. Where bodies were plain, the file is also written anew (VACUUM),
because pages that were freed before sealing was turned on still hold them; that makes writers wait, some
twenty seconds a gigabyte, once, and so is left to the operator where the file is large.

A body whose seal is broken is left as it is and named in the log; its key stays in use.
"""

import logging
from collections.abc import Collection, Iterable
from typing import Any, Final, NamedTuple

import apsw
from msgspec import Struct

from imserver.core.errors import KeyRingUnusable, SealBroken, SealingKeyMissing
from imserver.core.key_ring import KeyId
from imserver.data.sealing import PLAIN, EventSeal, key_of, number_of
from imserver.data.sqlite.rows import as_sealed, pack, pack_sealed, unpack
from imserver.data.sqlite.statements import load_statements
from imserver.protocol.names import ConversationName

_SQL: Final = load_statements(__package__, "resealing.sql")
_STEP_ROWS: Final = 200
_STEP_BYTES: Final = 1024 * 1024
_log: Final = logging.getLogger(__name__)


class Progress(Struct, frozen=True):
    """How far the rows have been gone through.

    Attributes:
        is_done: whether all bodies are sealed with the current key, but for those that cannot be opened.
        looked_at: rows that this step looked at.
        part: how much of the file, in order, is done; 0 to 1.
    """

    is_done: bool
    looked_at: int
    part: float


class Unwiped(NamedTuple):
    """Whether bodies in places that SQLite gave up are ``plain`` or ``sealed``, and how large the file is."""

    what: str
    file_bytes: int


class Uses(NamedTuple):
    """What the bodies of a store are sealed with."""

    keys: dict[KeyId, int]
    plain: int


def required_keys(db: apsw.Connection) -> set[KeyId]:
    """Return the keys without which some of the bodies may not be readable."""
    file_key: Any = db.execute(_SQL["meta"], ("file_key_sealed",)).get
    of_files = set() if file_key is None else {key_of(int(file_key))}
    return of_files | {KeyId(word) for word in words_of(db) if word != PLAIN}


def uses(db: apsw.Connection) -> Uses:
    """Count the bodies by what they are sealed with, in time linear in the size of the store."""
    rows: Any = db.execute(_SQL["uses"]).fetchall()
    counts: dict[int | None, int] = dict(rows)
    plain = counts.pop(None, 0)
    return Uses({key_of(key): count for key, count in counts.items() if key is not None}, plain)


class Resealing:
    """What is done to the sealing of a store, each thing in a transaction of its writer.

    ``seal``: what bodies are to be sealed with, None if they are not.
    """

    def __init__(self, seal: EventSeal | None) -> None:
        self._seal = seal
        self._unseal = seal is None
        self._broken: set[str] = set()

    def begin(self, db: apsw.Connection) -> None:
        """Take note of how bodies are stored from here on.

        Raises:
            SealingKeyMissing: the ring lacks a key that bodies are sealed with.
            KeyRingUnusable: there are sealed bodies, and sealing is off.
        """
        required = required_keys(db)
        if self._seal is not None:
            self.admit(db, self._seal.ring.ids, self._target())
            self._seal.strict = PLAIN not in words_of(db)
        elif required:
            raise KeyRingUnusable(
                f"bodies in this store are sealed (with key {', '.join(sorted(required))}), and sealing "
                "is off; set sealing.enabled, or take the seals away with `imserver keys unseal`"
            )
        else:
            self._put_words(db, {PLAIN})

    def admit(self, db: apsw.Connection, keys: Collection[KeyId], target: str) -> None:
        """Take note that bodies are sealed with ``target`` from here on, by a ring that has ``keys``.

        Raises:
            SealingKeyMissing: the ring lacks a key that bodies are sealed with.
        """
        missing = required_keys(db).difference(keys)
        if missing:
            raise SealingKeyMissing(
                f"bodies in this store are sealed with key {', '.join(sorted(missing))}, which is not in the "
                "key ring; put back the ring that has it (sealing.keys names the file)"
            )
        self._put_words(db, {target} | words_of(db))

    def begin_unsealing(self, db: apsw.Connection) -> None:
        """Have bodies stored as they are from here on: the seal is there to open them.

        Raises:
            SealingKeyMissing: the ring lacks a key that bodies are sealed with.
            KeyRingUnusable: files are sealed, which stay as they are and go on to need the ring.
        """
        files: Any = db.execute(_SQL["sealed_files"]).get
        if files:
            raise KeyRingUnusable(
                f"{files} files in this store are sealed, and only bodies can be stored as they were; fetch "
                "those files and delete them first, or go on with sealing.enabled"
            )
        for name in ("file_key", "file_key_sealed"):  # nothing is sealed with it any more
            db.execute(_SQL["forget_meta"], (name,))
        self._unseal = True
        self.admit(db, self._seal.ring.ids if self._seal else (), PLAIN)

    def step(self, db: apsw.Connection) -> Progress:
        """Seal the next few rows anew; to be called until it is done."""
        if self._is_level(db):
            return Progress(is_done=True, looked_at=0, part=1.0)
        target = self._target()
        place = self._place(db, target)
        rows = self._rows_after(db, place)
        if not rows:
            self._finish(db, target)
            return Progress(is_done=True, looked_at=0, part=1.0)
        number = None if self._unseal else number_of(KeyId(target))
        changed = [
            (number, packed, row.key)
            for row in rows
            if row.sealed != number and (packed := self._anew(row)) is not None
        ]
        db.executemany(_SQL["put_packed"], changed)
        self._put_meta(db, "resealed", f"{target} {rows[-1].key}")
        return Progress(is_done=False, looked_at=len(rows), part=rows[-1].key / self._last_key(db))

    def unwiped(self, db: apsw.Connection) -> Unwiped | None:
        """Return what lies in places that SQLite has given up, if anything does."""
        what = db.execute(_SQL["meta"], ("unwiped",)).get
        if what is None:
            return None
        return Unwiped(str(what), int(db.pragma("page_count")) * int(db.pragma("page_size")))

    def dismiss(self, db: apsw.Connection, key: KeyId) -> None:
        """Take note that nothing is sealed with ``key`` any more."""
        self._put_words(db, words_of(db) - {key})

    def written_anew(self, db: apsw.Connection) -> None:
        """Take note that no plain bodies lie there any more."""
        self._put_meta(db, "unwiped", "sealed")

    def wiped(self, db: apsw.Connection) -> None:
        """Take note that nothing does any more."""
        db.execute(_SQL["forget_meta"], ("unwiped",))

    def _is_level(self, db: apsw.Connection) -> bool:
        return words_of(db) <= {self._target()}

    def _target(self) -> str:
        return PLAIN if self._unseal or self._seal is None else self._seal.ring.current

    def _place(self, db: apsw.Connection, target: str) -> int:
        text = db.execute(_SQL["meta"], ("resealed",)).get or ""
        word, _, key = str(text).partition(" ")
        return int(key) if word == target else 0

    def _rows_after(self, db: apsw.Connection, place: int) -> list["_Row"]:
        rows: list[_Row] = []
        size = 0
        found: Iterable[Any] = db.execute(_SQL["rows_after"], {"after": place, "limit": _STEP_ROWS})
        for row in map(_Row._make, found):
            rows.append(row)
            size += len(row.packed)
            if size > _STEP_BYTES:
                break
        return rows

    def _anew(self, row: "_Row") -> bytes | None:
        """Return the row's event as it is to be stored, or None if its body cannot be opened."""
        event = unpack(row.packed)
        try:
            if row.sealed is not None and self._seal is not None:
                event = self._seal.open(row.conv, as_sealed(event))
        except SealBroken as exc:
            _log.error("sealing.broken", extra={"reason": str(exc)})
            self._broken.add(key_of(row.sealed or 0))
            return None
        if self._unseal or self._seal is None:
            return pack(event)
        return pack_sealed(event, self._seal.seal(row.conv, event))

    def _finish(self, db: apsw.Connection, target: str) -> None:
        was_plain = PLAIN in words_of(db) and target != PLAIN
        self._put_words(db, {target} | (self._broken & words_of(db)))
        db.execute(_SQL["forget_meta"], ("resealed",))
        is_plain = was_plain or db.execute(_SQL["meta"], ("unwiped",)).get == PLAIN
        self._put_meta(db, "unwiped", PLAIN if is_plain else "sealed")
        if self._seal is not None:
            self._seal.strict = not self._unseal

    def _last_key(self, db: apsw.Connection) -> int:
        last: int = db.execute(_SQL["last"]).get
        return last

    def _put_words(self, db: apsw.Connection, words: set[str]) -> None:
        if words != words_of(db):
            self._put_meta(db, "sealed_with", " ".join(sorted(words)))

    def _put_meta(self, db: apsw.Connection, name: str, value: str) -> None:
        db.execute(_SQL["put_meta"], (name, value))


class _Row(NamedTuple):
    key: int
    conv: ConversationName
    sealed: int | None
    packed: bytes


def words_of(db: apsw.Connection) -> set[str]:
    """Return with what the bodies may be sealed: ids of keys, and ``plain``."""
    text: Any = db.execute(_SQL["meta"], ("sealed_with",)).get
    return set(str(text).split()) if text is not None else {PLAIN}
