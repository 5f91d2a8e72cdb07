"""The opening handshake of a WebSocket (RFC 6455, section 4): what is asked for, and what is answered.

The HTTP server has parsed the request; the websockets library judges it.
"""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from imserver.access.deflate import Offers
from imserver.protocol.codec import BY_SUBPROTOCOL

PATH: Final = "/v1/connect"
VERSION: Final = "13"

quiet: Final = logging.getLogger("imserver.websocket")
quiet.setLevel(logging.WARNING)  # the library logs every connection at INFO


class TurnedAway(NamedTuple):
    """Why nobody, or nobody from this address, is let in now, and after how many seconds to come."""

    status: HTTPStatus
    text: str
    retry_after_s: int


class Judge(ServerProtocol):
    """Judges opening handshakes, any number, one after the other."""

    def __init__(self, origins: Sequence[Origin | None], *, deflates: bool = True) -> None:
        names = [Subprotocol(name) for name in BY_SUBPROTOCOL]
        extensions = [Offers()] if deflates else None
        super().__init__(origins=origins, extensions=extensions, subprotocols=names, logger=quiet)

    @property
    def window_bits(self) -> int | None:
        """After a 101, the window in which messages to this client may be compressed; None for not at all."""
        for extension in self.extensions:
            if isinstance(extension, PerMessageDeflate):
                return extension.local_max_window_bits
        return None

    def select_subprotocol(self, subprotocols: Any) -> Subprotocol | None:
        if not subprotocols:
            return None
        return super().select_subprotocol(subprotocols)

    def answer(self, request: Request, turned_away: TurnedAway | None) -> Response:
        """Return the answer to a request to open a WebSocket: 101, or what is wrong with it.

        After a 101, ``subprotocol`` is the one agreed on, or None if none was asked for.
        """
        if request.path.partition("?")[0] != PATH:
            return self.reject(HTTPStatus.NOT_FOUND, f"WebSockets connect at {PATH}.\n")
        if turned_away is not None:
            return self.turn_away(turned_away)
        if request.headers.get_all("Sec-WebSocket-Version") not in ([], [VERSION]):
            text = f"WebSockets here are of version {VERSION} (RFC 6455).\n"
            response = self.reject(HTTPStatus.UPGRADE_REQUIRED, text)
            response.headers["Upgrade"] = "websocket"
            response.headers["Sec-WebSocket-Version"] = VERSION
            return response
        return self.accept(request)

    def turn_away(self, why: TurnedAway) -> Response:
        """Return the answer to a request that comes at a wrong time."""
        response = self.reject(why.status, why.text + "\n")
        response.headers["Retry-After"] = str(why.retry_after_s)
        return response
