"""Counts the starts of a robot's program in a small file beside its key.

By that count the server tells a restart from a second machine that began from a copy. A count is durable
before it is told, and no two processes get the same.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Final

BOOT_SUFFIX: Final = ".boot"
_DIGITS: Final = 16
_log = logging.getLogger("client_sdk")


def next_boot(key_path: Path) -> int | None:
    """Return which start this is, from 1 on; None if it cannot be counted here."""
    path = key_path.with_name(key_path.name + BOOT_SUFFIX)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        _log.info("boot.not_counted", extra={"path": str(path), "reason": exc.strerror})
        return None
    try:
        _lock(descriptor)
        text = os.read(descriptor, _DIGITS)
        number = int(text) + 1 if text.isdigit() else 1
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, b"%0*d" % (_DIGITS, number))  # one sector: whole or not at all
        os.fsync(descriptor)
    except OSError as exc:
        _log.info("boot.not_counted", extra={"path": str(path), "reason": exc.strerror})
        return None
    finally:
        os.close(descriptor)
    return number


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        return
    import fcntl  # noqa: PLC0415  (it is not everywhere)

    fcntl.flock(descriptor, fcntl.LOCK_EX)
