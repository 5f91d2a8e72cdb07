"""A robot that arrives: connect, upgrade, ``hello``, the challenge if there is one, ``welcome``."""

import socket
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.load import wire
from bench.load.connection import check_upgrade, new_key, upgrade_request
from bench.load.loop import Loop
from bench.load.wire import Broken
from imserver.protocol.client_frames import Frame, Hello, Prove
from imserver.protocol.codec import MSGPACK
from imserver.protocol.proof import signed_text
from imserver.protocol.server_frames import Bye, Challenge, Error, Welcome

_READ_BYTES = 16 * 1024


class Arrival:
    """One connection on its way in."""

    def __init__(
        self,
        loop: Loop,
        port: int,
        hello: Hello,
        *,
        key: Ed25519PrivateKey | None,
        on_in: Callable[["Arrival"], None],
    ) -> None:
        """Begin to connect, and call ``on_in`` when the session is open."""
        self._loop = loop
        self._hello = hello
        self._key = key
        self._on_in = on_in
        self._port = port
        self._upgrade_key = new_key()
        self._upgraded = False
        self._stream = b""
        self._socket = socket.socket()
        self._socket.settimeout(0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex(("127.0.0.1", port))
        loop.add(self._socket.fileno(), self._on_connected, writing=True)

    def _on_connected(self, _mask: int) -> None:
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, "cannot connect")
        self._loop.remove(self._socket.fileno())
        self._loop.add(self._socket.fileno(), self._on_readable)
        self._socket.send(upgrade_request(self._port, self._upgrade_key))

    def _on_readable(self, _mask: int) -> None:
        chunk = self._socket.recv(_READ_BYTES)
        if not chunk:
            raise Broken("the server closed a connection that had only just come")
        self._stream += chunk
        if not self._upgraded:
            self._upgrade()
        found, rest = wire.scan(self._stream, 0) if self._upgraded else ([], 0)
        for first, start, stop in found:
            if first == wire.FINAL | wire.BINARY:
                self._take(wire.decode(self._stream[start:stop]))
        self._stream = self._stream[rest:]

    def _upgrade(self) -> None:
        head, end, rest = self._stream.partition(b"\r\n\r\n")
        if end:
            check_upgrade(head, self._upgrade_key)
            self._upgraded, self._stream = True, rest
            self._tell(self._hello)

    def _take(self, frame: Any) -> None:
        match frame:
            case Challenge() if self._key is not None:
                text = signed_text(
                    server=frame.server,
                    nonce=frame.nonce,
                    robot=self._hello.robot,
                    device=self._hello.device,
                )
                self._tell(Prove(signature=self._key.sign(text)))
            case Welcome():
                self._loop.remove(self._socket.fileno())
                self._on_in(self)
            case Error() | Bye():
                raise Broken(f"refused: {frame}")

    def _tell(self, frame: Frame) -> None:
        self._socket.send(wire.client_frame(MSGPACK.encode(frame)))

    def check_open(self) -> None:
        """Check that the server has not closed the connection.

        Raises:
            Broken: it has.
        """
        try:
            if not self._socket.recv(_READ_BYTES):
                raise Broken("the server closed an idle connection")
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the socket without ceremony."""
        self._socket.close()
