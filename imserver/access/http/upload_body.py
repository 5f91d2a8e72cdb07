"""The body of a request as an upload takes it in: piece by piece, until its end or an interruption."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from litestar.types import Receive

from imserver.core.errors import Refusal
from imserver.logic.upload_turns import UploadBusy
from imserver.protocol.errors import CloseCode, ErrorCode


class UploadBody:
    """What a client uploads; one of the answers that take their time (`Stays`).

    Attributes:
        is_whole: its end has come.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._timeout: asyncio.Timeout | None = None
        self._interruption: Refusal | None = None
        self.is_whole = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield what comes, until its end, an interruption, or until the client is gone."""
        while True:
            event = await self._next()
            if event is None or event["type"] != "http.request":
                return
            if event["body"]:
                yield event["body"]
            if not event.get("more_body", False):
                self.is_whole = True
                return

    def require_whole(self) -> None:
        """Return if the end has come.

        Raises:
            Refusal: it has not, and why.
        """
        if self._interruption is not None:
            raise self._interruption
        if not self.is_whole:
            raise Refusal(ErrorCode.BAD_FRAME, "the client left in the middle of its request")

    def claimed(self) -> None:
        """Stop: another request takes the upload over."""
        self._interrupt(UploadBusy())

    # What the connection and the node tell.

    @property
    def blocked(self) -> bool:
        return False

    def on_tick(self) -> bool:
        return True

    def on_lost(self) -> None:
        """Do nothing: what is received next says so."""

    def end(self, code: int, reason: str, *, retry_after_ms: int | None = None) -> None:
        is_drain = code == CloseCode.DRAINING
        why = ErrorCode.UNAVAILABLE if is_drain else ErrorCode.UNAUTHENTICATED
        self._interrupt(Refusal(why, reason, retry_after_ms=retry_after_ms))

    async def _next(self) -> Any:
        try:
            async with asyncio.timeout(None) as self._timeout:
                return None if self._interruption else await self._receive()
        except TimeoutError:
            return None
        finally:
            self._timeout = None

    def _interrupt(self, why: Refusal) -> None:
        if self.is_whole:
            return
        self._interruption = self._interruption or why
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())
