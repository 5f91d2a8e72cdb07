"""The spool: acts that commands did beside the data directory, until they are in the store.

Only one process may write to an embedded store, and a running server is it. So ``imserver token``, ``revoke``
and their like append what they did to a file, a line of JSON an act, under a lock and durably; whoever holds
the store takes it from there. Taking it twice is harmless: an act has an id, and is performed once.
"""

import fcntl
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from imserver.core.acts import Act
from imserver.core.errors import DataDirectoryUnusable

_log: Final = logging.getLogger(__name__)
_decode: Final = msgspec.json.Decoder(Act).decode
_encode: Final = msgspec.json.Encoder().encode

SPOOL_BYTES_MAX: Final = 64 * 1024 * 1024


class ActSpool:
    """The spool in a file, which need not be there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unreadable = ""

    @property
    def is_empty(self) -> bool:
        """Whether no act waits."""
        try:
            return self._path.stat().st_size == 0
        except FileNotFoundError:
            return True

    def append(self, acts: Sequence[Act]) -> None:
        """Add acts, durably; waits while somebody else reads or writes.

        Raises:
            DataDirectoryUnusable: it cannot be written, or nobody has emptied it for very long.
        """
        lines = b"".join(_encode(act) + b"\n" for act in acts)
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if file.seek(0, os.SEEK_END) + len(lines) > SPOOL_BYTES_MAX:
                    raise DataDirectoryUnusable(
                        f"{self._path} is full of acts that no server has taken in; start one"
                    )
                if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                    lines = b"\n" + lines  # who wrote last was killed in the middle
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            raise DataDirectoryUnusable(
                f"{self._path} cannot be written: {exc.strerror}; it must be writable by this user"
            ) from exc

    async def hand_over(self, perform: Callable[[Sequence[Act]], Awaitable[object]]) -> None:
        """Hand what waits to ``perform``, if anything does; once that returned, it waits no more.

        Nothing happens while somebody writes: the next call comes.
        """
        if self.is_empty:
            return
        try:
            with self._path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                await perform(self._read(file.read(SPOOL_BYTES_MAX)))
                file.truncate(0)
        except BlockingIOError:
            return
        except OSError as exc:
            self._complain(exc.strerror or str(exc))

    def _read(self, text: bytes) -> list[Act]:
        acts = []
        for line in text.splitlines():
            with suppress(msgspec.MsgspecError):
                if line:
                    acts.append(_decode(line))
                continue
            _log.error("spool.line_dropped", extra={"bytes": len(line)})
        return acts

    def _complain(self, reason: str) -> None:
        if reason != self._unreadable:  # it is looked at a few times a second
            _log.error("spool.unreadable", extra={"path": str(self._path), "reason": reason})
            self._unreadable = reason
