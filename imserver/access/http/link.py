"""HTTP connections, before they become WebSockets or instead: uvicorn's protocol with more limits.

A head may not be longer than `HEAD_BYTES_MAX`, nor take longer than the hello deadline; a body must come, and
an answer be taken, at some pace; and strangers count against the cap on connections from their first byte on.
"""

from http import HTTPStatus
from typing import Any, Final, Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from websockets.datastructures import Headers
from websockets.http11 import Request

from imserver.access.door import STOPPING, Door
from imserver.access.http.last_answers import LINK, LastAnswers
from imserver.access.websocket import WebSocketLink

HEAD_BYTES_MAX: Final = 32 * 1024
HEADERS_MAX: Final = 128
BODY_BYTES_PER_S: Final = 1024
"""Slower than that, a body is given up, after some time to begin."""

CLOSE_TIMEOUT_S: Final = 2.0
"""So long a client that still sends gets to read its answer."""

_NO_HTTP: Final = HTTPStatus.BAD_REQUEST, "This is no request of HTTP/1.1."


class Stay(Protocol):
    """An answer that takes its time."""

    @property
    def blocked(self) -> bool:
        """Whether it waits for the client to take what was written."""

    def on_tick(self) -> bool:
        """Take in that a second has passed; return False to give the connection up."""

    def on_lost(self) -> None:
        """Take in that the client is gone."""


class _BadHead(Exception):
    """A head is not acceptable; what is wrong is known already."""


class HttpLink(HttpToolsProtocol):
    """One HTTP connection.

    Attributes:
        stay: the answer that takes its time, if one does, and hears of time and loss.
        body_bytes: so much has come of the body of the last request.
        look_at: the tick from which on time matters: of a head, its deadline, else at once.
    """

    def __init__(self, door: Door, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.app = LastAnswers(self.app)
        self._door = door
        self._head_bytes = 0
        self._in_head = True
        self._begun = 0
        self._head_due = 0
        self._is_inside = False
        self._fault: tuple[HTTPStatus, str] | None = None
        self.body_bytes = 0
        self._rest_bytes = 0
        self._body_due = 0
        self._unsent_bytes = 0
        self._stalled_ticks = 0
        self._closes_at: int | None = None
        self.stay: Stay | None = None
        self.look_at = 0
        self._is_lost = False
        self._answering: RequestResponseCycle | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing that is still said reaches the client: it left, or was refused."""
        return self._is_lost or self._closes_at is not None or self.transport.is_closing()

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
        self.look_at = self._head_due

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the connection go."""
        self._is_lost = True
        self._break_off()
        self._leave()
        super().connection_lost(exc)
        if self.stay is not None:
            self.stay.on_lost()

    def data_received(self, data: bytes) -> None:
        """Take in a piece of a request."""
        if self._closes_at is not None:
            return  # whatever else it says, it has been refused
        begun = self._begun
        super().data_received(data)
        if begun != self._begun:
            return
        if self._in_head:
            self._head_bytes += len(data)
            self._judge_size(self._head_bytes)
        else:
            # What is not body: the end of the head, the sizes of chunks, up to six bytes for each byte, and
            # what follows the last.
            self._rest_bytes += len(data)
            self._judge_size(self._rest_bytes - 8 * self.body_bytes - HEAD_BYTES_MAX)
        if self._fault is not None:
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Take in the begin of a request."""
        super().on_message_begin()
        self.scope[LINK] = self  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """Take in the end of a head."""
        self._in_head = False
        self.look_at = 0
        self._judge_head()
        self.body_bytes = self._rest_bytes = 0
        self._body_due = self._door.wheel.due(self._door.hello_timeout_s)
        if self.client is None and not (self.parser.should_upgrade() and self._should_upgrade()):
            self.scope["server"] = self.server = get_local_addr(self.transport)
            self.scope["client"] = self.client = get_remote_addr(self.transport)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take in a piece of a body."""
        super().on_body(body)
        self.body_bytes += len(body)

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
        # They refer back to us: without the knots all are freed at once, not when the collector looks again.
        del self.scope[LINK]  # type: ignore[typeddict-item]
        self.parser = None  # type: ignore[assignment]

    def _request(self) -> Request:
        headers = Headers()
        for name, value in self.headers:
            headers[name.decode("latin-1")] = value.decode("latin-1")
        version = self.parser.get_http_version()
        return Request(self.url.decode("latin-1"), headers, self.scope["method"], f"HTTP/{version}")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, or one whose head is not acceptable (called by uvicorn)."""
        if self._closes_at is None and not self.transport.is_closing():
            self._door.context.metrics.http_malformed.inc()
            self._turn_away(*(self._fault or _NO_HTTP))

    def check_deadline(self) -> None:
        """Give up on what does not end: a head, a body, an answer that is not taken."""
        is_given_up = self.stay is not None and not self.stay.on_tick()
        if is_given_up or self._has_stalled():
            self._door.context.metrics.closed_slow.inc()
            self.transport.abort()
            return
        cycle: RequestResponseCycle | None = self.cycle
        is_answering = cycle is not None and not cycle.response_complete
        if self.transport.is_closing():
            return
        tick = self._door.wheel.tick
        if self._closes_at is not None:
            if tick >= self._closes_at:
                self.transport.close()
        elif self._in_head:
            if is_answering or self._unsent_bytes:
                # It waits for us.
                self._head_due = self._door.wheel.due(self._door.hello_timeout_s)
            elif tick >= self._head_due:
                self.transport.abort()
            elif self.stay is None:
                self.look_at = self._head_due
        elif not self.flow.read_paused and tick >= self._body_due + self._body_s():
            text = f"The body must come at {BODY_BYTES_PER_S} bytes a second at least."
            self._give_up_body(cycle, HTTPStatus.REQUEST_TIMEOUT, text)

    def hurry(self) -> None:
        """Wait no longer for a body that is under way: the node stops."""
        if not (self._in_head or self.is_over or self.flow.read_paused):
            self._give_up_body(self.cycle, HTTPStatus.SERVICE_UNAVAILABLE, STOPPING)

    def _body_s(self) -> int:
        return self.body_bytes // BODY_BYTES_PER_S

    def _give_up_body(
        self, cycle: RequestResponseCycle | None, status: HTTPStatus, text: str
    ) -> None:
        if cycle is None or cycle.response_started:
            self.transport.abort()
        else:
            self._turn_away(status, text)
            cycle.message_event.set()  # whoever reads the body learns that no more comes

    def _has_stalled(self) -> bool:
        """Tell whether the client has taken nothing for a whole ping interval, although there was some."""
        before, self._unsent_bytes = self._unsent_bytes, self.transport.get_write_buffer_size()
        # To what is unsent a stream adds; only while it waits, a number that does not fall shows a stall.
        adds = self.stay is not None and not self.stay.blocked
        if adds or not before or self._unsent_bytes < before:
            self._stalled_ticks = 0
        else:
            self._stalled_ticks += 1
        return self._stalled_ticks >= self._door.ping_interval_s

    def _judge_head(self) -> None:
        """Find fault with a head.

        Raises:
            _BadHead: there is one; the parser stops here.
        """
        hosts = sum(name == b"host" for name, _ in self.headers)
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._fault = _NO_HTTP
        elif hosts > 1 or (not hosts and version == "1.1"):
            self._fault = HTTPStatus.BAD_REQUEST, "A request has one header `Host`."
        if len(self.headers) > HEADERS_MAX:
            text = f"A request may have {HEADERS_MAX} headers at most."
            self._fault = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text
        self._judge_size(len(self.url) + sum(len(n) + len(v) for n, v in self.headers))
        if self._fault is not None:
            raise _BadHead

    def _judge_size(self, size: int) -> None:
        if size > HEAD_BYTES_MAX:
            text = (
                f"The head of a request, or its trailer, may take {HEAD_BYTES_MAX} bytes at most."
            )
            self._fault = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text

    def _begin_head(self) -> None:
        self._begun += 1
        self._in_head = True
        self._head_bytes = 0
        self._head_due = self._door.wheel.due(self._door.hello_timeout_s)

    def _turn_away(self, status: HTTPStatus, text: str = "") -> None:
        content = f"{text or status.phrase + '.'}\n".encode()
        head = f"HTTP/1.1 {status} {status.phrase}\r\nconnection: close\r\n"
        head += f"content-type: text/plain; charset=utf-8\r\ncontent-length: {len(content)}\r\n\r\n"
        self.transport.write(head.encode() + content)
        self._break_off()
        self.end()

    def end(self) -> None:
        """Close the connection once the client had time to read what it was told, or leaves."""
        if self._is_inside and self.transport.can_write_eof():
            # Closed while the client still writes, the connection would be reset, and our words with it.
            self.transport.write_eof()
            self._closes_at = self._door.wheel.due(CLOSE_TIMEOUT_S)
            self.look_at = 0
        else:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _break_off(self) -> None:
        """Have nothing more written of the answer that is under way; uvicorn does so only for that to the
        request which came last."""
        if self._answering is not None:
            self._answering.disconnected = True

    def _leave(self) -> None:
        if self._is_inside:
            self._is_inside = False
            self._door.leave_visitor(self)
