"""The file that a key ring is kept in: JSON, for its owner alone (mode 0600), replaced whole and durably.

By default it is ``sealing.keys`` in the data directory; a setting names another place, for keys that should
not lie beside what they seal. Writers take turns by a lock on the folder. Blocks; called when a server
starts or is told to read the file again, and by ``imserver keys``."""

import base64
import binascii
import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from imserver.core.errors import KeyRingUnusable, SealingKeyMissing
from imserver.core.key_ring import KEY_BYTES, KeyId, KeyRing, RandomBytes, SealingKey

_FORM: Final = "XAES-256-GCM"
_BYTES_MAX: Final = 1024 * 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class _KeyEntry(Struct, forbid_unknown_fields=True):
    id: str
    created_ms: int
    key: str
    form: str = _FORM


class _Ring(Struct, forbid_unknown_fields=True):
    current: str
    keys: list[_KeyEntry]


class KeyRecord(Struct, frozen=True):
    """A key as it may be shown."""

    id: KeyId
    created_ms: int
    is_current: bool


class KeyRingFile:
    """The file of a key ring, which may not exist yet."""

    def __init__(self, path: Path, *, random_bytes: RandomBytes) -> None:
        self.path: Final = path
        self._random_bytes = random_bytes

    def load(self) -> KeyRing:
        """Return the ring.

        Raises:
            KeyRingUnusable: there is no such file, others may read it, or it is damaged.
        """
        keys, current = self._parsed(self._read())
        return KeyRing(keys, current, random_bytes=self._random_bytes)

    def renew(self, ring: KeyRing) -> None:
        """Give ``ring`` the keys that the file has now.

        Raises:
            KeyRingUnusable: as for `load`; the ring is as it was.
        """
        ring.renew(*self._parsed(self._read()))

    def records(self) -> list[KeyRecord]:
        """Return what may be shown of the keys, oldest first.

        Raises:
            KeyRingUnusable: as for `load`.
        """
        ring = self._read()
        return [
            KeyRecord(KeyId(entry.id), entry.created_ms, entry.id == ring.current)
            for entry in ring.keys
        ]

    def create(self, *, now_ms: int) -> KeyId:
        """Make the file with one key and return its id.

        Raises:
            KeyRingUnusable: there is one already, or it cannot be written.
        """
        with self._turn():
            if self.path.exists():
                raise KeyRingUnusable(
                    f"there is a key ring in {self.path} already; `imserver keys rotate` adds a key to it"
                )
            entry = self._new_key(now_ms)
            self._write(_Ring(entry.id, [entry]))
        return KeyId(entry.id)

    def rotate(self, *, now_ms: int) -> KeyId:
        """Add a key that seals from here on, and return its id. The others go on to open.

        Raises:
            KeyRingUnusable: as for `load`, or it cannot be written.
        """
        with self._turn():
            ring = self._read()
            entry = self._new_key(now_ms)
            self._write(_Ring(entry.id, [*ring.keys, entry]))
        return KeyId(entry.id)

    def remove(self, key: KeyId) -> None:
        """Take a key out of the ring. That nothing is sealed with it is the caller's to know.

        Raises:
            SealingKeyMissing: the ring has no such key.
            KeyRingUnusable: it is the current one; else as for `rotate`.
        """
        with self._turn():
            ring = self._read()
            left = [entry for entry in ring.keys if entry.id != key]
            if len(left) == len(ring.keys):
                raise SealingKeyMissing(f"there is no key {key} in {self.path}")
            if key == ring.current:
                raise KeyRingUnusable(
                    f"{key} is the key that seals now; `imserver keys rotate` makes another one first"
                )
            self._write(_Ring(ring.current, left))

    def _new_key(self, now_ms: int) -> _KeyEntry:
        secret = self._random_bytes(KEY_BYTES)
        return _KeyEntry(SealingKey(secret).id, now_ms, base64.b64encode(secret).decode())

    def _read(self) -> _Ring:
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(_BYTES_MAX)
        except FileNotFoundError:
            raise KeyRingUnusable(
                f"there is no key ring in {self.path}; put it back, name its place with sealing.keys, or "
                "make the first one with `imserver keys new`"
            ) from None
        except OSError as exc:
            raise KeyRingUnusable(
                f"the key ring {self.path} cannot be read: {exc.strerror}; it must be a file of the user who "
                "runs imserver"
            ) from exc
        if mode & _OTHERS:
            raise KeyRingUnusable(
                f"the key ring {self.path} is open to others than its owner (mode "
                f"{stat.S_IMODE(mode):04o}); say `chmod 600 {self.path}`, and make new keys if somebody "
                "may have read it"
            )
        try:
            return msgspec.json.decode(text, type=_Ring)
        except msgspec.MsgspecError as exc:
            raise self._damaged(str(exc)) from exc

    def _parsed(self, ring: _Ring) -> tuple[list[SealingKey], KeyId]:
        keys = [self._key(entry) for entry in ring.keys]
        if ring.current not in {key.id for key in keys}:
            raise self._damaged(f"its current key {ring.current} is not in it")
        return keys, KeyId(ring.current)

    def _key(self, entry: _KeyEntry) -> SealingKey:
        if entry.form != _FORM:
            raise self._damaged(f"key {entry.id} is of form {entry.form}, not {_FORM}")
        try:
            key = SealingKey(base64.b64decode(entry.key, validate=True))
        except (ValueError, binascii.Error) as exc:
            raise self._damaged(f"key {entry.id}: {exc}") from exc
        if key.id != entry.id:
            raise self._damaged(f"the key under {entry.id} is another one, {key.id}")
        return key

    def _damaged(self, why: str) -> KeyRingUnusable:
        return KeyRingUnusable(
            f"the key ring {self.path} is damaged ({why}); put back a copy: without its keys, what they "
            "sealed is lost"
        )

    def _write(self, ring: _Ring) -> None:
        draft = self.path.with_name(f".{self.path.name}.draft")
        draft.unlink(missing_ok=True)  # of a writer that died: we have the lock
        text = msgspec.json.format(msgspec.json.encode(ring), indent=2) + b"\n"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the folder's lock, and make durable what was done under it."""
        try:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as exc:
            raise KeyRingUnusable(
                f"the key ring {self.path} cannot be written: {exc.strerror}; name a writable place"
            ) from exc
