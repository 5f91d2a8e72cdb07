"""The transport on WebSockets (RFC 6455): websockets' Sans-I/O client under our own `asyncio.Protocol`.

Without queues and tasks in between, a burst of frames is one write and a burst of messages wakes its reader
once. Pings are answered by the library; a server that is silent is pinged, and given up if it stays silent.
Not here: proxies.
"""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidState, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State as WebSocketState
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from client_sdk.arrivals import Arrivals
from client_sdk.deflate import DeflateOffer
from client_sdk.tls import Trust
from client_sdk.transport import ABNORMAL, Transport, TransportClosed
from imserver.protocol.codec import Codec
from imserver.protocol.errors import CloseCode

CLOSE_TIMEOUT_S = 2.0
REASON_CHARS_MAX = 200
_TAKES_NONE_NOW = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)


class WebSocketConnector:
    """Connects to ``url``, a ``ws`` or ``wss`` address with its path, the latter with a `Trust`."""

    def __init__(
        self,
        url: str,
        codec: Codec,
        *,
        ping_interval_s: float,
        tls: Trust | None,
        deflates: bool = False,
    ) -> None:
        self._uri = parse_uri(url)
        self._url = url
        self._codec = codec
        self._ping_interval_s = ping_interval_s
        self._tls = tls
        self._deflates = deflates

    async def connect(self, *, frame_bytes_max: int) -> Transport:
        protocol = ClientProtocol(
            self._uri,
            extensions=[DeflateOffer()] if self._deflates else None,
            subprotocols=[Subprotocol(self._codec.name)],
            max_size=frame_bytes_max,
        )
        protocol.debug = False  # its log would show tokens and bodies
        transport = WebSocketTransport(
            protocol, binary=self._codec.binary, ping_interval_s=self._ping_interval_s
        )
        context = self._tls.context if self._tls is not None else None
        try:
            wire, _ = await asyncio.get_running_loop().create_connection(
                lambda: transport, self._uri.host, self._uri.port, ssl=context
            )
        except OSError as exc:
            raise TransportClosed(ABNORMAL, f"cannot connect to {self._url}: {exc}") from exc
        distrust = self._tls.problem_with(wire) if self._tls is not None else None
        if distrust is not None:
            transport.abort()
            raise TransportClosed(ABNORMAL, distrust)
        try:
            await transport.wait_open()
        except BaseException:
            transport.abort()
            raise
        return transport


class WebSocketTransport(asyncio.Protocol):
    """One WebSocket connection."""

    def __init__(self, protocol: ClientProtocol, *, binary: bool, ping_interval_s: float) -> None:
        self._protocol = protocol
        self._binary = binary
        self._ping_interval_s = ping_interval_s
        self._loop = asyncio.get_running_loop()
        self._socket: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._arrivals = Arrivals(self._loop)
        self._parts: list[bytes] = []
        self._heard_s = self._loop.time()
        self._pinged = False
        self._timers: list[asyncio.TimerHandle] = []

    async def wait_open(self) -> None:
        """Return when the server has agreed to speak our protocol.

        Raises:
            TransportClosed: it has not.
        """
        await self._opened

    def send(self, messages: Sequence[bytes]) -> None:
        write = self._protocol.send_binary if self._binary else self._protocol.send_text
        try:
            for message in messages:
                write(message)
        except InvalidState:
            return
        self._flush()

    async def receive(self) -> list[bytes]:
        return await self._arrivals.receive()

    def close(self, code: int, reason: str) -> None:
        if self._protocol.state is WebSocketState.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
        if not self._closed.done():
            self._timers.append(self._loop.call_later(CLOSE_TIMEOUT_S, self.abort))

    async def wait_closed(self) -> None:
        await asyncio.shield(self._closed)

    def abort(self) -> None:
        """Cut the connection."""
        if self._socket is not None:
            self._socket.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self._protocol.send_request(self._protocol.connect())
        self._flush()
        self._timers.append(self._loop.call_later(self._ping_interval_s / 2, self._beat))

    def data_received(self, data: bytes) -> None:
        self._heard_s = self._loop.time()
        self._pinged = False
        self._protocol.receive_data(data)
        self._take_events()
        self._flush()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()
        self._protocol.receive_eof()
        code, reason = self._protocol.close_code or ABNORMAL, self._protocol.close_reason or ""
        arrivals = self._arrivals
        if arrivals.end is None:
            arrivals.end = TransportClosed(code, reason or (str(exc) if exc else ""))
        if not self._opened.done():
            self._fail(arrivals.end)
        self._closed.set_result(None)
        arrivals.wake()

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take_frame(event)
            elif isinstance(event, Response):
                self._take_response(self._protocol.handshake_exc)
        if self._protocol.handshake_exc is not None and not self._opened.done():
            self._take_response(self._protocol.handshake_exc)
        self._arrivals.wake()
        if self._protocol.close_expected():
            self._timers.append(self._loop.call_later(CLOSE_TIMEOUT_S, self.abort))

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY) and frame.fin:
            self._arrivals.put(bytes(frame.data))
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._parts.append(bytes(frame.data))
            if frame.fin:
                self._arrivals.put(b"".join(self._parts))
                self._parts.clear()

    def _take_response(self, problem: Exception | None) -> None:
        if self._opened.done():
            return  # given up at the very moment at which the answer came
        if problem is None and self._protocol.subprotocol is None:
            problem = InvalidHandshake("the server did not agree to our subprotocol")
        if problem is None:
            self._opened.set_result(None)
            return
        self._arrivals.end = _refusal(problem)
        self._fail(self._arrivals.end)
        self.abort()

    def _fail(self, problem: TransportClosed) -> None:
        self._opened.set_exception(problem)
        self._opened.exception()  # or asyncio would complain if nobody waits for it any more

    def _flush(self) -> None:
        if self._socket is None:
            return
        pieces = self._protocol.data_to_send()
        self._socket.write(b"".join(pieces))
        if pieces and pieces[-1] == b"" and self._socket.can_write_eof():
            self._socket.write_eof()

    def _beat(self) -> None:
        silent_s = self._loop.time() - self._heard_s
        if silent_s >= 2 * self._ping_interval_s and self._pinged:
            problem = f"the server was silent for {silent_s:.0f} s"
            self._arrivals.end = TransportClosed(ABNORMAL, problem)
            self.abort()
            return
        if silent_s >= self._ping_interval_s and self._protocol.state is WebSocketState.OPEN:
            self._pinged = True
            self._protocol.send_ping(b"")
            self._flush()
        self._timers[0] = self._loop.call_later(self._ping_interval_s / 2, self._beat)


def _refusal(problem: Exception) -> TransportClosed:
    """Return why there is no connection: an imserver that takes none now, or none at all at this address."""
    if isinstance(problem, InvalidStatus) and problem.response.status_code in _TAKES_NONE_NOW:
        response = problem.response
        text = (response.body or b"").decode(errors="replace").strip()[:REASON_CHARS_MAX]
        after = response.headers.get("Retry-After", "")
        return TransportClosed(
            CloseCode.OVERLOADED,
            text or response.reason_phrase,
            retry_after_s=int(after) if _is_seconds(after) else None,
        )
    return TransportClosed(ABNORMAL, f"there is no imserver at this address: {problem}")


def _is_seconds(text: str) -> bool:
    """Tell whether ``Retry-After`` counts seconds; it may also be a date, which needs their clock."""
    return text.isascii() and text.isdecimal() and len(text) <= 6
