"""Thumbnails: small pictures of pictures, made when somebody first asks, and kept beside them.

A file that is no picture, or a broken one, has none, and that is kept, too: nobody tries again.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol

from imserver.core.errors import Refusal
from imserver.core.file_settings import FileSettings
from imserver.core.files import SEGMENT_BYTES, FileRecord, thumbnail_of
from imserver.data.file_store import FileStore
from imserver.logic import file_metadata
from imserver.logic.files import Files
from imserver.protocol.errors import ErrorCode

WAITING_MAX: Final = 16
_RETRY_AFTER_MS: Final = 1_000
_NONE: Final = b""


class Shrinking(Protocol):
    """Makes pictures small."""

    async def small(self, picture: AsyncIterator[bytes]) -> bytes | None:
        """Return a picture made small, or None: there is none of this one. Takes a bounded time."""


class Thumbnails:
    """The use case of thumbnails; ``shrinking`` None: there are none here."""

    def __init__(
        self, files: Files, kept: FileStore, shrinking: Shrinking | None, settings: FileSettings
    ) -> None:
        self._files = files
        self._catalog = kept.catalog
        self._content = kept.content
        self._shrinking = shrinking
        self._settings = settings
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def of(self, file: FileRecord) -> bytes:
        """Return the thumbnail of a finished file that the asker sees.

        Raises:
            Refusal: ``not_found``, it has none; ``unavailable``, too many are being made.
        """
        blob = thumbnail_of(file.blob)
        small = await self._content.get(blob, 0)
        if small is None and self._may_have(file):
            if self._waiting >= WAITING_MAX:
                raise Refusal(
                    ErrorCode.UNAVAILABLE,
                    "too many thumbnails are being made; ask again",
                    retry_after_ms=_RETRY_AFTER_MS,
                )
            self._waiting += 1
            try:
                async with self._turn:
                    small = await self._content.get(blob, 0) or await self._made(file)
            finally:
                self._waiting -= 1
        if not small:
            raise Refusal(ErrorCode.NOT_FOUND, "there is no thumbnail of this file")
        return small

    def _may_have(self, file: FileRecord) -> bool:
        is_picture = file_metadata.parse(file.metadata.decode()).type.startswith("image/")
        return (
            self._shrinking is not None
            and is_picture
            and 0 < file.size <= self._settings.picture_bytes_max
        )

    async def _made(self, file: FileRecord) -> bytes:
        assert self._shrinking is not None, "else it may have none"
        small = await self._shrinking.small(self._files.read(file, 0, file.size)) or _NONE
        if len(small) > SEGMENT_BYTES:
            small = _NONE
        blob = thumbnail_of(file.blob)
        await self._content.put(blob, 0, small)
        await self._content.sync(blob)
        if await self._catalog.find(file.id) is None:
            await self._content.drop(blob)  # the file went meanwhile, and took what was there along
        return small
