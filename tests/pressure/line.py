"""A robot's connection under the tester's full control: it reads only when it is told to.

A plain blocking socket. Nothing reads ahead behind its back, so a robot that stops reading really closes its
receive buffer, whose size can be given.
"""

import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from imserver.protocol.client_frames import Frame, Hello
from imserver.protocol.codec import MSGPACK
from imserver.protocol.server_frames import Bye, Deliver, Error, Ok, ServerFrame, Welcome
from tests.pressure import wire

PATIENCE_S: Final = 120.0
READ_BYTES: Final = 256 * 1024


class Refused(Exception):
    """The server answered with an error, said goodbye, or is gone."""


class Line:
    """A WebSocket to a server on this machine."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = wire.Stream()
        self._ready: deque[ServerFrame] = deque()
        self._ids = 0
        self.socket.sendall(wire.upgrade_request(port))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)  # nothing follows it before we speak
        assert head.startswith(b"HTTP/1.1 101 "), head

    def hello(self, robot: str, token: str, **fields: Any) -> Welcome:
        """Open the session with a bearer token."""
        self.tell(Hello(robot=robot, token=token, **fields))
        welcome: Welcome = self._first(Welcome)
        return welcome

    def tell(self, *frames: Frame) -> None:
        """Send frames; wait for nothing but the socket to take them."""
        self.socket.sendall(wire.messages(*frames))

    def offer(self, data: bytes, *, patience_s: float) -> int:
        """Send bytes until all are taken, or nothing was for ``patience_s``; return how many were."""
        taken = 0
        self.socket.settimeout(patience_s)
        try:
            while taken < len(data):
                taken += self.socket.send(memoryview(data)[taken:])
        except TimeoutError:
            pass
        finally:
            self.socket.settimeout(PATIENCE_S)
        return taken

    def next_id(self) -> int:
        """Return a request id that was not used on this line."""
        self._ids += 1
        return self._ids

    def request(self, frame: Frame) -> Ok:
        """Send a request and return its ``ok``; events and signals before it are dropped.

        Raises:
            Refused: an error or a goodbye came.
        """
        self.tell(frame)
        ok: Ok = self._first(Ok)
        return ok

    def events(self) -> Deliver:
        """Wait for the next frame of events; what is no event is dropped.

        Raises:
            Refused: an error or a goodbye came.
        """
        deliver: Deliver = self._first(Deliver)
        return deliver

    def read(self) -> ServerFrame:
        """Wait for the next frame.

        Raises:
            Refused: the connection ended.
        """
        while not self._ready:
            self._receive()
        return self._ready.popleft()

    def close(self) -> None:
        """Close the socket without ceremony."""
        self.socket.close()

    def _first(self, kind: type[Any]) -> Any:
        while True:
            frame = self.read()
            if isinstance(frame, Error | Bye):
                raise Refused(f"{frame}")
            if isinstance(frame, kind):
                return frame

    def _receive(self) -> None:
        try:
            chunk = self.socket.recv(READ_BYTES)
        except ConnectionError as exc:
            raise Refused("the connection was reset") from exc
        if not chunk:
            raise Refused("the server closed the connection")
        for first, payload in self._stream.take(chunk):
            if first == wire.BINARY:
                self._ready.append(MSGPACK.decode_server(payload))
            elif first == wire.PING:
                self.socket.sendall(wire.message(payload, wire.PONG))
            elif first == wire.CLOSE:
                raise Refused(f"close {payload[:120]!r}")


def wait_until(
    condition: Callable[[], object], what: str, *, patience_s: float = PATIENCE_S
) -> None:
    """Return once ``condition()`` holds.

    Raises:
        TimeoutError: it did not in time; the text names ``what`` was waited for.
    """
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {patience_s:g} s")
        time.sleep(0.01)
