"""A connection on the loop: what it reads goes to a follower or to the answers of a sender."""

from select import EPOLLOUT
from time import monotonic_ns
from typing import Final, Protocol

from bench.load.connection import Connection
from bench.load.loop import Loop
from bench.load.sender import Sender
from bench.load.wire import Broken

_INBOX: Final = memoryview(
    bytearray(256 * 1024)
)  # shared: each chunk is taken before the next read


class Stream(Protocol):
    """Takes the bytes of a connection as they come."""

    def take(self, chunk: memoryview, now_ns: int) -> None:
        """Take the next bytes, received at ``now_ns``."""


class Station:
    """Reads a connection whenever the loop says so, and lets its sender refill."""

    def __init__(
        self, loop: Loop, connection: Connection, stream: Stream, sender: Sender | None = None
    ) -> None:
        self._sender = sender
        self._connection = connection
        self._receive = connection.socket.recv_into
        self._take = stream.take
        connection.attach(loop)
        loop.add(connection.socket.fileno(), self._on_ready)
        if connection.pending:
            stream.take(memoryview(connection.pending), monotonic_ns())
            connection.pending = b""

    def _on_ready(self, mask: int) -> None:
        if mask & EPOLLOUT:
            self._connection.flush()
        try:
            size = self._receive(_INBOX)
        except BlockingIOError:
            return
        if not size:
            raise Broken("the server closed a connection")
        self._take(_INBOX[:size], monotonic_ns())
        if self._sender is not None:
            self._sender.refill()
