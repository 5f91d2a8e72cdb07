"""The opening handshake of a WebSocket (RFC 6455, section 4): what is asked for, and what is answered."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from imserver.protocol.codec import BY_SUBPROTOCOL

PATH: Final = "/v1/connect"
VERSION: Final = "13"

quiet: Final = logging.getLogger("imserver.websocket")
quiet.setLevel(logging.WARNING)  # the library logs every connection at INFO


class _Handshake(ServerProtocol):
    def select_subprotocol(self, subprotocols: Any) -> Subprotocol | None:
        if not subprotocols:
            return None
        return super().select_subprotocol(subprotocols)


def new_handshake(origins: Sequence[Origin | None], *, bytes_max: int) -> ServerProtocol:
    """Return the protocol of a connection that has not said anything yet."""
    return _Handshake(
        origins=origins,
        subprotocols=[Subprotocol(name) for name in BY_SUBPROTOCOL],
        max_size=bytes_max,
        logger=quiet,
    )


def handshake_answer(
    handshake: ServerProtocol, request: Request, *, refused_with: HTTPStatus | None
) -> Response:
    """Return the answer to a request to open a WebSocket: 101, or what is wrong with it.

    ``refused_with`` is the status with which everybody is turned away now, or None.
    """
    if request.path.partition("?")[0] != PATH:
        return handshake.reject(HTTPStatus.NOT_FOUND, f"WebSockets connect at {PATH}.\n")
    if refused_with is not None:
        response = handshake.reject(refused_with, "This node takes no new connections now.\n")
        response.headers["Retry-After"] = "2"
        return response
    if request.headers.get_all("Sec-WebSocket-Version") not in ([], [VERSION]):
        text = f"WebSockets here are of version {VERSION} (RFC 6455).\n"
        response = handshake.reject(HTTPStatus.UPGRADE_REQUIRED, text)
        response.headers["Upgrade"] = "websocket"
        response.headers["Sec-WebSocket-Version"] = VERSION
        return response
    return handshake.accept(request)
