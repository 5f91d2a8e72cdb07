"""One WebSocket connection on a plain socket: opened with blocking calls, then handed to the loop.

The blocking half serves the preparation of a scenario; what is measured runs on the loop.
"""

import base64
import hashlib
import os
import socket
from typing import Any, Final, TypeVar

import msgspec

from bench.load import wire
from bench.load.loop import Loop
from bench.load.wire import Broken
from imserver.protocol import client_frames, server_frames
from imserver.protocol.codec import MSGPACK, SUBPROTOCOL_MSGPACK

_DEADLINE_S: Final = 30.0
_READ_BYTES: Final = 256 * 1024
_HEADER_BYTES_MAX: Final = 16 * 1024
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_Answer = TypeVar("_Answer", bound=msgspec.Struct)


def upgrade_request(port: int, key: bytes) -> bytes:
    """Return the HTTP request that opens a WebSocket at ``/v1/connect``."""
    return (
        f"GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL_MSGPACK}\r\n"
        f"Sec-WebSocket-Key: {key.decode()}\r\n\r\n"
    ).encode()


def new_key() -> bytes:
    """Return a random ``Sec-WebSocket-Key``."""
    return base64.b64encode(os.urandom(16))


def check_upgrade(head: bytes, key: bytes) -> None:
    """Check the server's answer to ``upgrade_request``.

    Raises:
        Broken: it is not the one RFC 6455 asks for.
    """
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    if not head.startswith(b"HTTP/1.1 101 ") or accept not in head:
        raise Broken(f"the upgrade was answered with {head[:200]!r}")


class Connection:
    """A connection that speaks MessagePack, on the loopback interface."""

    def __init__(self, port: int) -> None:
        """Connect and upgrade, waiting for both."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""
        """Bytes that were received and not yet taken."""
        self._out = bytearray()
        self._loop: Loop | None = None
        self._upgrade(port)

    def _upgrade(self, port: int) -> None:
        key = new_key()
        self.socket.sendall(upgrade_request(port, key))
        while b"\r\n\r\n" not in self.pending and len(self.pending) < _HEADER_BYTES_MAX:
            self._receive()
        head, _, self.pending = self.pending.partition(b"\r\n\r\n")
        check_upgrade(head, key)

    def hello(
        self, robot: str, token: str, *, device: str = "main", auto: bool = True, window: int = 1024
    ) -> server_frames.Welcome:
        """Open the session with a bearer token and return the ``welcome``."""
        self.tell(
            client_frames.Hello(robot=robot, device=device, token=token, window=window, auto=auto)
        )
        return self._answer(server_frames.Welcome)

    def request(self, frame: client_frames.Frame) -> server_frames.Ok:
        """Send a request and return its ``ok``; frames that come before it are skipped."""
        self.tell(frame)
        return self._answer(server_frames.Ok)

    def tell(self, frame: client_frames.Frame) -> None:
        """Send a frame and wait for nothing."""
        self.socket.sendall(wire.client_frame(MSGPACK.encode(frame)))

    def _answer(self, kind: type[_Answer]) -> _Answer:
        while True:
            frame = self.next_frame()
            if isinstance(frame, server_frames.Error | server_frames.Bye):
                raise Broken(f"refused: {frame}")
            if isinstance(frame, kind):
                return frame

    def next_frame(self) -> Any:
        """Wait for the next frame that is not a WebSocket control frame, and return it decoded."""
        while True:
            found, _ = wire.scan(self.pending, 0)
            if not found:
                self._receive()
                continue
            first, start, stop = found[0]
            payload, self.pending = self.pending[start:stop], self.pending[stop:]
            if first == wire.FINAL | wire.BINARY:
                return wire.decode(payload)
            self.control(first, payload)

    def control(self, first: int, payload: bytes) -> None:
        """Answer a ping.

        Raises:
            Broken: the frame is a close, a text or a fragment.
        """
        if first == wire.FINAL | wire.PING:
            self.write(wire.client_frame(payload, wire.PONG))
        elif first != wire.FINAL | wire.PONG:
            raise Broken(f"unexpected WebSocket frame {first:#x} {payload[:120]!r}")

    def _receive(self) -> None:
        chunk = self.socket.recv(_READ_BYTES)
        if not chunk:
            raise Broken("the server closed the connection")
        self.pending += chunk

    def attach(self, loop: Loop) -> None:
        """Become non-blocking, with writes that ``loop`` finishes; reading stays the caller's."""
        self.socket.settimeout(0)
        self._loop = loop

    def write(self, frames: bytes) -> None:
        """Send bytes at once as far as the socket takes them, the rest when `flush` is called."""
        if self._out:
            self._out += frames
            return
        try:
            sent = self.socket.send(frames)
        except BlockingIOError:
            sent = 0
        if sent < len(frames):
            self._out += frames[sent:]
            if self._loop is not None:
                self._loop.watch(self.socket.fileno(), writing=True)

    def flush(self) -> None:
        """Send what is left, as far as the socket takes it."""
        try:
            del self._out[: self.socket.send(self._out)]
        except BlockingIOError:
            return
        if not self._out and self._loop is not None:
            self._loop.watch(self.socket.fileno(), writing=False)

    def close(self) -> None:
        """Close the socket without ceremony."""
        self.socket.close()
