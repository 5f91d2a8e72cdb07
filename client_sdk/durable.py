"""Makes durable which files there are in a folder."""

import os
from pathlib import Path


def sync_folder(path: Path) -> None:
    """Return when the names in a folder would outlive a loss of power, where the system can say so. Blocks.

    Raises:
        OSError: they may not.
    """
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
