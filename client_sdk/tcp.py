"""The transport on raw TCP: frames behind their lengths, as docs/protocol.md has them.

TCP has no pings. Once the session is open, a robot that was silent, or hears nothing, says `ping` in the
protocol itself: the server hears that it lives, and the `pong` says that the server does.
"""

import asyncio
import functools
from collections.abc import Sequence
from typing import NamedTuple, cast

from client_sdk.arrivals import Arrivals
from client_sdk.deflate import DEFLATE_BYTES_MIN
from client_sdk.tls import Trust
from client_sdk.transport import ABNORMAL, Transport, TransportClosed
from imserver.protocol.client_frames import Ping
from imserver.protocol.codec import Codec, InvalidFrame
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.length_prefix import (
    GOODBYE,
    Splitter,
    framed,
    framed_deflated,
    preface_of,
)
from imserver.protocol.server_frames import Welcome

CLOSE_TIMEOUT_S = 2.0
PING_ID = 2**53 - 1
"""No request of the robot's gets this far, so that the answer concerns nobody else."""


class TcpAddress(NamedTuple):
    """Where a server takes raw TCP."""

    host: str
    port: int


class TcpConnector:
    """Connects to a server's port for raw TCP, over TLS if there is a context for it."""

    def __init__(
        self,
        address: TcpAddress,
        codec: Codec,
        *,
        ping_interval_s: float,
        tls: Trust | None,
        deflates: bool = False,
    ) -> None:
        self._address = address
        self._codec = codec
        self._ping_interval_s = ping_interval_s
        self._tls = tls
        self._deflates = deflates

    async def connect(self, *, frame_bytes_max: int) -> Transport:
        transport = TcpTransport(
            self._codec,
            frame_bytes_max=frame_bytes_max,
            ping_interval_s=self._ping_interval_s,
            deflates=self._deflates,
        )
        host, port = self._address
        context = self._tls.context if self._tls is not None else None
        try:
            wire, _ = await asyncio.get_running_loop().create_connection(
                lambda: transport, host, port, ssl=context
            )
        except OSError as exc:
            problem = f"cannot connect to {host} at port {port}: {exc}"
            raise TransportClosed(ABNORMAL, problem) from exc
        distrust = self._tls.problem_with(wire) if self._tls is not None else None
        if distrust is not None:
            transport.abort()
            raise TransportClosed(ABNORMAL, distrust)
        return transport


class TcpTransport(asyncio.Protocol):
    """One connection over raw TCP."""

    def __init__(
        self,
        codec: Codec,
        *,
        frame_bytes_max: int,
        ping_interval_s: float,
        deflates: bool = False,
    ) -> None:
        self._codec = codec
        self._ping_interval_s = ping_interval_s
        self._deflates = deflates
        self._loop = asyncio.get_running_loop()
        self._frames = Splitter(bytes_max=frame_bytes_max, deflates=deflates)
        self._arrivals = Arrivals(self._loop)
        self._socket: asyncio.Transport | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._timers: list[asyncio.TimerHandle] = []
        self._in_session = False
        self._is_closing = False
        self._pinged = False
        self._heard_s = self._said_s = self._loop.time()

    def send(self, messages: Sequence[bytes]) -> None:
        if self._is_closing:
            return
        if self._deflates:
            write = functools.partial(framed_deflated, bytes_min=DEFLATE_BYTES_MIN)
            self._write(b"".join([write(message) for message in messages]))
        else:
            self._write(b"".join([framed(message) for message in messages]))

    async def receive(self) -> list[bytes]:
        return await self._arrivals.receive()

    def close(self, code: int, reason: str) -> None:
        if not self._is_closing:
            self._write(GOODBYE)
            self._is_closing = True
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
        self._write(preface_of(self._codec, deflates=self._deflates))
        self._timers.append(self._loop.call_later(self._ping_interval_s / 2, self._beat))

    def data_received(self, data: bytes) -> None:
        self._heard_s = self._loop.time()
        self._pinged = False
        for message in self._frames.feed(data):
            self._in_session = self._in_session or self._is_welcome(message)
            self._arrivals.put(message)
        unreadable = self._frames.unreadable
        if unreadable is not None and self._arrivals.end is None:
            is_large = unreadable.code is ErrorCode.TOO_LARGE
            code = CloseCode.TOO_BIG if is_large else CloseCode.PROTOCOL_ERROR
            self._arrivals.end = TransportClosed(code, unreadable.message)
            self.abort()
        self._arrivals.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = True
        for timer in self._timers:
            timer.cancel()
        if self._arrivals.end is None:
            self._arrivals.end = TransportClosed(ABNORMAL, str(exc) if exc else "")
        self._closed.set_result(None)
        self._arrivals.wake()

    def _write(self, data: bytes) -> None:
        if self._socket is not None:
            self._said_s = self._loop.time()
            self._socket.write(data)

    def _is_welcome(self, message: bytes) -> bool:
        try:
            return isinstance(self._codec.decode_server(message), Welcome)
        except InvalidFrame:
            return False

    def _beat(self) -> None:
        now_s, interval_s = self._loop.time(), self._ping_interval_s
        silent_s = now_s - self._heard_s
        if silent_s >= 2 * interval_s and self._pinged:
            problem = f"the server was silent for {silent_s:.0f} s"
            self._arrivals.end = TransportClosed(ABNORMAL, problem)
            self.abort()
            return
        is_quiet = silent_s >= interval_s or now_s - self._said_s >= interval_s
        if is_quiet and self._in_session and not self._is_closing:
            self._pinged = True
            self._write(framed(self._codec.encode(Ping(PING_ID))))
        self._timers[0] = self._loop.call_later(interval_s / 2, self._beat)
