"""Tidies files away: lets go of those that expired, and of the bytes that nobody has any more."""

import asyncio
import logging
from typing import Final

from imserver.core.clock import Clock
from imserver.core.errors import StoreCorrupt, StoreUnavailable
from imserver.core.file_settings import FileSettings
from imserver.core.files import thumbnail_of
from imserver.data.file_store import FileStore

_log = logging.getLogger("imserver.files")

_A_STEP: Final = 64


class FileSweep:
    """Looks now and then for what is over."""

    def __init__(self, files: FileStore, *, settings: FileSettings, clock: Clock) -> None:
        self._leavings = files.leavings
        self._content = files.content
        self._settings = settings
        self._clock = clock

    async def run(self) -> None:
        """Sweep now and then, for ever.

        Raises:
            StoreFailed: a commit's outcome is unknown; the node must stop.
        """
        while True:
            await asyncio.sleep(self._settings.sweep_s)
            try:
                await self.sweep()
            except (StoreUnavailable, StoreCorrupt) as exc:
                _log.warning("files.sweep_put_off", extra={"reason": str(exc)})

    async def sweep(self) -> None:
        """Let go of all that is over now.

        Raises:
            StoreUnavailable, StoreFailed: as the ports do.
        """
        while await self._leavings.expire(self._clock.now_ms(), limit=_A_STEP):
            pass
        while blobs := await self._leavings.dropped(limit=_A_STEP):
            for blob in blobs:
                await self._content.drop(blob)
                await self._content.drop(thumbnail_of(blob))
                await self._leavings.forget(blob)
