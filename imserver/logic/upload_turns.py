"""One at a time: who is writing to which upload, and how another takes over.

Two who write at once are told apart: the second is refused. But a client whose connection broke comes back
before its server has noticed. It asks first how far the upload came, as every tus client does; that claims
the turn: whoever holds it stops, keeps what it has, and lets go. Source of the idea: the locks of tusd.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from imserver.core.errors import Refusal
from imserver.core.files import FileId
from imserver.protocol.errors import ErrorCode

CLAIM_S: Final = 10.0
"""So long a claim waits for the one that holds the turn to keep what it has."""


class UploadBusy(Refusal):
    """Another request is writing to this upload."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.CONFLICT,
            "another request is writing to this upload; ask with HEAD how far it came, and go on from there",
        )


class Turn:
    """The right to write to one upload."""

    def __init__(self) -> None:
        self._is_claimed = False
        self._on_claim: Callable[[], None] = _nobody
        self._ended = asyncio.Event()

    def claim(self) -> None:
        """Ask whoever holds it to let go."""
        if not self._is_claimed:
            self._is_claimed = True
            self._on_claim()

    def tell_claim(self, on_claim: Callable[[], None]) -> None:
        """Have ``on_claim`` called, once, when somebody else wants it: now, if somebody does already."""
        self._on_claim = on_claim
        if self._is_claimed:
            on_claim()

    def end(self) -> None:
        """Let go."""
        self._ended.set()

    async def wait_ended(self) -> None:
        """Return when it was let go of."""
        await self._ended.wait()


class UploadTurns:
    """The turns of all uploads of this node."""

    def __init__(self) -> None:
        self._held: dict[FileId, Turn] = {}

    @asynccontextmanager
    async def taking(self, file: FileId, *, claims: bool) -> AsyncIterator[Turn]:
        """Hold the turn of one upload; with ``claims``, take it from whoever has it.

        Raises:
            UploadBusy: somebody has it, and does not let go.
        """
        try:
            async with asyncio.timeout(CLAIM_S):
                while (held := self._held.get(file)) is not None:
                    if not claims:
                        raise UploadBusy
                    held.claim()
                    await held.wait_ended()
        except TimeoutError:
            raise UploadBusy from None
        turn = self._held[file] = Turn()
        try:
            yield turn
        finally:
            del self._held[file]
            turn.end()


def _nobody() -> None:
    """Tell nobody."""
