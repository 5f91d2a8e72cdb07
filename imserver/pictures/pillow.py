"""Thumbnails by Pillow, one at a time, each in a process with limits of its own (see `shrink`).

It is started by `subprocess` and not by the event loop: uvloop forks, and then runs in the child what was
registered with ``os.register_at_fork`` (PyMongo has something there that fails without a loop). `subprocess`
runs none of it. Its pipes block, so threads wait for them; what ends the process ends their wait.
"""

import asyncio
import contextlib
import importlib.util
import logging
import subprocess  # nosec B404
import sys
from collections.abc import AsyncIterator
from typing import Final

from imserver.core.file_settings import FileSettings

_log = logging.getLogger("imserver.pictures")

_TIMEOUT_S: Final = 20.0


class PillowThumbnails:
    """Makes pictures small."""

    def __init__(self, settings: FileSettings) -> None:
        limits = (settings.thumbnail_px, settings.picture_bytes_max, settings.picture_pixels_max)
        self._arguments = [str(limit) for limit in limits]

    @staticmethod
    def is_there() -> bool:
        """Tell whether Pillow is installed."""
        return importlib.util.find_spec("PIL") is not None

    async def small(self, picture: AsyncIterator[bytes]) -> bytes | None:
        """Return a picture made small, in JPEG or PNG; None if it is none, or too much for the limits."""
        process = self._start()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                small = await _fed(process, picture)
                status = await asyncio.to_thread(process.wait)
        except TimeoutError:
            status, small = -1, b""
        finally:
            process.kill()
            await asyncio.to_thread(_release, process)
        if status != 0:
            _log.info("picture.not_made_small", extra={"status": status})
        return small if status == 0 and small else None

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - ourselves, with numbers # nosec B603
            (sys.executable, "-m", "imserver.pictures.shrink", *self._arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )


async def _fed(process: subprocess.Popen[bytes], picture: AsyncIterator[bytes]) -> bytes:
    assert process.stdin is not None, "it was asked for"
    assert process.stdout is not None, "it was asked for"
    # It reads all before it writes anything.
    with contextlib.suppress(BrokenPipeError):
        async for piece in picture:
            await asyncio.to_thread(process.stdin.write, piece)
        await asyncio.to_thread(process.stdin.close)
    return await asyncio.to_thread(process.stdout.read)


def _release(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes of a process that was killed or has ended, and take its status."""
    with contextlib.suppress(BrokenPipeError), process:
        pass  # what was not written any more stays unwritten
