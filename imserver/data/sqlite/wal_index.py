"""The writer's connection, which holds the space that the index of the write-ahead log may come to need.

SQLite makes that index (the file that ends in ``-shm``) longer only after the frames of a transaction were
written and synced. On a full disk just this step can fail (SQLITE_IOERR_SHMSIZE), and leaves a commit whose
outcome is unknown where "no space, nothing stored" would have been enough. So its space is taken beforehand.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

import apsw

INDEX_BYTES: Final = 2 * 1024 * 1024
"""Enough for a log of 1 GiB: 32 KiB for each 4,096 pages."""


class WriterConnection(apsw.Connection):
    """A connection that can take the index's space, and holds it until it is closed."""

    _index = -1

    def reserve_wal_index(self, path: Path) -> None:
        """Take the space, if there is any; ``path`` is the database, in WAL mode and looked at once."""
        # This descriptor must stay open as long as the connection: closing any descriptor of a file gives
        # up all locks that the process holds on it (POSIX), and SQLite's own are among them.
        self._index = os.open(path.with_name(path.name + "-shm"), os.O_RDWR | os.O_CLOEXEC)
        # If the disk is full already, there is nothing to take.
        with contextlib.suppress(OSError):
            os.posix_fallocate(self._index, 0, INDEX_BYTES)

    def close(self, force: bool = False) -> None:
        """Close the connection, then give up the descriptor."""
        super().close(force)
        if self._index >= 0:
            os.close(self._index)
            self._index = -1
