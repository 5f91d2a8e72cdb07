"""One request's stand-in for a connection: the `Peer` that logic answers.

A request acts in a session that nobody else knows of: it reads and writes as its robot, and neither brings
the robot online nor takes the place of a device.
"""

import asyncio
from typing import Final

from msgspec import Struct

from imserver.core.warrant import Warrant
from imserver.logic.peer import Peer
from imserver.logic.session import Session
from imserver.protocol.names import DeviceName
from imserver.protocol.server_frames import Gap
from imserver.protocol.shared_frame import SharedFrame

HTTP: Final = DeviceName("http")
"""The device of a session that nobody else knows of."""

WINDOW: Final = 2**53
"""Nobody acks over HTTP what was delivered, so no window may close."""


class Visit:
    """Keeps what logic says until the request's handler has its answer.

    Attributes:
        gap: the hole that logic told of, before the page that follows it.
    """

    def __init__(self) -> None:
        self.gap: Gap | None = None
        self._answer: Struct | None = None
        self._waiting: asyncio.Future[None] | None = None

    async def answered(self) -> Struct:
        """Return the one answer to the request, once it is there."""
        if self._answer is None:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        assert self._answer is not None, "who waits is woken by the answer"
        return self._answer

    # The port `Peer`.

    @property
    def is_closed(self) -> bool:
        return False

    @property
    def congested(self) -> bool:
        return False

    def send(self, frame: Struct) -> None:
        if isinstance(frame, Gap):
            self.gap = frame

    def answer(self, frame: Struct) -> None:
        self._answer = frame
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def push(self, _shared: SharedFrame) -> bool:
        return False

    def signal(self, key: tuple[str, str, str], shared: SharedFrame) -> None:
        """Take none: nobody reads here."""

    def close(self, code: int, reason: str, *, retry_after_ms: int | None = None) -> None:
        """Have nothing to close: the answer is on its way already."""


def visit_of(session: Session) -> Visit:
    """Return the visit of a session that belongs to a request."""
    assert isinstance(session.peer, Visit), "a request's session has a visit for a peer"
    return session.peer


def session_for(warrant: Warrant, *, peer: Peer | None = None) -> Session:
    """Return a session for one request."""
    session = Session(peer or Visit(), warrant, HTTP, session_id="")
    session.window = WINDOW
    return session
