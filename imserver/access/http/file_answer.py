"""A file as the answer to a request: its head, then its bytes, a segment at a time.

Whatever a robot says of its file, a browser does not run it: it is an attachment, of a type that is harmless
or of none, in a sandbox.
"""

import logging
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from imserver.access.http.last_answers import LINK
from imserver.access.http.stays import Stays
from imserver.core.errors import StoreCorrupt, StoreUnavailable
from imserver.core.files import FileRecord
from imserver.core.warrant import Warrant
from imserver.logic import file_metadata
from imserver.logic.file_metadata import UNKNOWN_TYPE
from imserver.protocol.errors import CloseCode

_log = logging.getLogger("imserver.files")

GUARDS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
"""What keeps a browser from running what it was given."""

_IMAGES: Final = frozenset({"png", "jpeg", "gif", "webp", "avif", "bmp", "tiff"})
_SOUNDS: Final = frozenset({"mpeg", "mp4", "ogg", "wav", "webm", "flac", "aac"})
_FILMS: Final = frozenset({"mp4", "webm", "ogg", "quicktime", "x-matroska", "mpeg"})
_HARMLESS: Final = (
    {f"image/{name}" for name in _IMAGES}
    | {f"audio/{name}" for name in _SOUNDS}
    | {f"video/{name}" for name in _FILMS}
    | {"text/plain", "text/csv", "application/json", "application/pdf", "application/zip"}
)
"""Types that are told; of all others, such as HTML and SVG, no more is told than that they are bytes."""


class FileAnswer(ASGIResponse):
    """Gives bytes, as far as the client takes them; to HEAD, their head alone."""

    _should_set_content_length = False

    def __init__(
        self,
        pieces: AsyncIterator[bytes] | None,
        *,
        headers: dict[str, str],
        status: int,
        warrant: Warrant,
        stays: Stays,
    ) -> None:
        super().__init__(headers=headers, status_code=status, media_type=headers["Content-Type"])
        self._pieces = pieces
        self._warrant = warrant
        self._stays = stays

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the answer.

        Raises:
            Refusal: ``rate_limited``; nothing was sent then.
        """
        if self._pieces is None:
            await self.start_response(send)
            await send(_body(b"", more=False))
            return
        giving = _Giving()
        with self._stays.holding(scope, self._warrant, giving):
            try:
                first = await anext(self._pieces, b"")
                await self.start_response(send)
                await self._pump(giving, first, send)
            except (StoreCorrupt, StoreUnavailable) as exc:
                if giving.count == 0:
                    raise
                _log.warning("file.broken_off", extra={"reason": str(exc)})
                giving.is_over = True
            if giving.is_over:
                # The length is told already: only a connection that breaks says that it is not all.
                link: Any = scope[LINK]  # type: ignore[typeddict-item]
                link.transport.abort()

    async def _pump(self, giving: "_Giving", first: bytes, send: Send) -> None:
        assert self._pieces is not None, "there is something to give"
        piece: bytes | None = first
        while piece is not None and not giving.is_over:
            giving.count += 1
            await send(_body(piece, more=True))
            piece = await anext(self._pieces, None)
        if not giving.is_over:
            await send(_body(b"", more=False))


class _Giving:
    """An answer that is being given: as slowly as its client takes it, as long as it takes something."""

    def __init__(self) -> None:
        self.count = 0
        self.is_over = False
        self._counted = -1
        self._is_stuck = False

    @property
    def blocked(self) -> bool:
        return self._is_stuck

    def on_tick(self) -> bool:
        self._is_stuck = self.count == self._counted
        self._counted = self.count
        return True

    def on_lost(self) -> None:
        self.is_over = True

    def end(self, code: int, _reason: str, *, retry_after_ms: int | None = None) -> None:
        """Go on while the node drains, which waits for a while; else break off."""
        self.is_over = self.is_over or code != CloseCode.DRAINING


def headers_of(file: FileRecord) -> dict[str, str]:
    """Return the headers that say what a file is, but for its length."""
    said = file_metadata.parse(file.metadata.decode())
    media_type = said.type if said.type in _HARMLESS else UNKNOWN_TYPE
    return GUARDS | {
        "Content-Type": media_type,
        "Content-Disposition": disposition(said.name or file.id),
        "Accept-Ranges": "bytes",
    }


def disposition(name: str) -> str:
    """Return how a browser is told to save something under a name (RFC 6266)."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _body(data: bytes, *, more: bool) -> Any:
    return {"type": "http.response.body", "body": data, "more_body": more}
