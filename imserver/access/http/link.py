"""HTTP connections, before they become WebSockets or instead: uvicorn's protocol with more limits.

A head may not be longer than `HEAD_BYTES_MAX`, nor take longer than the hello deadline, and strangers count
against the cap on connections from their first byte on.
"""

from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from websockets.datastructures import Headers
from websockets.http11 import Request

from imserver.access.door import Door
from imserver.access.websocket import WebSocketLink

HEAD_BYTES_MAX: Final = 32 * 1024


class HttpLink(HttpToolsProtocol):
    """One HTTP connection."""

    def __init__(self, door: Door, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._door = door
        self._head_bytes = 0
        self._in_head = True
        self._head_due = 0
        self._is_inside = False

    def connection_made(self, transport: Any) -> None:
        """Take in a stranger, or turn it away at once when far too many are here."""
        # As uvicorn does, but for the addresses: to look them up takes long, and most want no HTTP.
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        peer = transport.get_extra_info("peername")
        if not self._door.enter_visitor(self, peer[0] if isinstance(peer, tuple) else ""):
            self._turn_away(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self._is_inside = True
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the connection go."""
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in a piece of a request."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._turn_away(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Take in the end of a head."""
        self._in_head = False
        if self.client is None and not (self.parser.should_upgrade() and self._should_upgrade()):
            self.scope["server"] = self.server = get_local_addr(self.transport)
            self.scope["client"] = self.client = get_remote_addr(self.transport)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take in the end of a request; the next thing to come is a head again."""
        super().on_message_complete()
        self._begin_head()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol."""
        self._leave()
        self._in_head = False
        self.connections.discard(self)
        link = WebSocketLink(self._door)
        link.connection_made(self.transport)
        self.transport.set_protocol(link)
        link.on_request(self._request())
        # It refers back to us: without the knot both are freed at once.
        self.parser = None  # type: ignore[assignment]

    def _request(self) -> Request:
        headers = Headers()
        for name, value in self.headers:
            headers[name.decode("latin-1")] = value.decode("latin-1")
        version = self.parser.get_http_version()
        return Request(
            self.url.decode("latin-1"), headers, self.scope["method"], f"HTTP/{version}"
        )

    def check_deadline(self) -> None:
        """Give up on a head that does not end; called each second."""
        if self._in_head and self._door.wheel.tick >= self._head_due:
            cycle: RequestResponseCycle | None = self.cycle
            is_answering = cycle is not None and not cycle.response_complete
            if not self.transport.is_closing() and not is_answering:
                self.transport.abort()

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._head_due = self._door.wheel.due(self._door.hello_timeout_s)

    def _turn_away(self, status: HTTPStatus) -> None:
        text = f"{status.phrase}.\n".encode()
        head = f"HTTP/1.1 {status} {status.phrase}\r\nconnection: close\r\n"
        head += f"content-length: {len(text)}\r\n\r\n"
        self._in_head = False
        self.transport.write(head.encode() + text)
        self.transport.close()

    def _leave(self) -> None:
        if self._is_inside:
            self._is_inside = False
            self._door.leave_visitor(self)
