"""Thumbnails by Pillow, one at a time, each in a process with limits of its own (see `shrink`)."""

import asyncio
import contextlib
import importlib.util
import logging
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
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "imserver.pictures.shrink", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                small = await _fed(process, picture)
                status = await process.wait()
        except TimeoutError:
            status, small = -1, b""
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if status != 0:
            _log.info("picture.not_made_small", extra={"status": status})
        return small if status == 0 and small else None


async def _fed(process: asyncio.subprocess.Process, picture: AsyncIterator[bytes]) -> bytes:
    assert process.stdin is not None, "it was asked for"
    assert process.stdout is not None, "it was asked for"
    # It reads all before it writes anything.
    with contextlib.suppress(ConnectionError):
        async for piece in picture:
            process.stdin.write(piece)
            await process.stdin.drain()
        process.stdin.close()
    return await process.stdout.read()
