"""Where requests over HTTP are counted against their address's rate, and then their robot's."""

from litestar.datastructures import Headers
from litestar.types import ASGIApp, Receive, Scope, Send

from imserver.access.door import source_of
from imserver.access.tolls import Tolls
from imserver.logic.session import Session


class _Gate:
    """Counts a request, and passes it on."""

    def __init__(self, app: ASGIApp, tolls: Tolls, *, bytes_max: int) -> None:
        self._app = app
        self._tolls = tolls
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on.

        Raises:
            Refusal: ``rate_limited``.
        """
        self._take(scope)
        await self._app(scope, receive, send)

    def _take(self, scope: Scope) -> None:
        raise NotImplementedError


class AddressGate(_Gate):
    """Counts a request before anything is asked of it."""

    def _take(self, scope: Scope) -> None:
        client = scope.get("client")
        if client is not None:
            self._tolls.take_from(source_of(client[0]), held_bytes(scope, self._bytes_max))


class RobotGate(_Gate):
    """Counts a request whose robot is known."""

    def _take(self, scope: Scope) -> None:
        session = scope.get("user")
        if isinstance(session, Session):
            self._tolls.take_of(session.robot, held_bytes(scope, self._bytes_max))


def held_bytes(scope: Scope, most: int) -> int:
    """Return how many bytes of a request's body are in memory at a time; of one that does not say its length,
    as many as it may have."""
    headers = Headers.from_scope(scope)
    if "transfer-encoding" in headers:
        return most
    text = headers.get("content-length", "")
    return min(int(text), most) if text.isascii() and text.isdecimal() else 0
