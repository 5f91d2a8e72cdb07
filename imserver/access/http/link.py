"""HTTP connections, before they become WebSockets or instead: uvicorn's protocol with more limits.

A head may not be longer than `HEAD_BYTES_MAX`, nor take longer than the hello deadline, and strangers count
against the cap on connections from their first byte on.
"""

from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from imserver.access.door import Door

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
        super().connection_made(transport)
        if not self._door.enter_visitor(self):
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
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take in the end of a request; the next thing to come is a head again."""
        super().on_message_complete()
        self._begin_head()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol."""
        self._leave()
        self._in_head = False
        super().handle_websocket_upgrade()
        # It refers back to us: without the knot both are freed at once.
        self.parser = None  # type: ignore[assignment]

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
