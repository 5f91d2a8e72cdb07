"""Makes durable what was written to the disk."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Return when a file's bytes, or a folder's names, would outlive a loss of power. Blocks.

    Raises:
        OSError: they may not; it is not to be tried again, since the system may have dropped what it could
            not write.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
