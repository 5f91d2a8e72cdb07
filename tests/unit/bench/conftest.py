"""A peer for the generator's parts: the websockets package, which shares no code with them."""

import queue
import threading
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from bench.load.connection import Connection
from imserver.protocol.codec import SUBPROTOCOL_MSGPACK


class Peer:
    """A WebSocket server that keeps what it receives."""

    def __init__(self) -> None:
        self.received: queue.Queue[bytes] = queue.Queue()
        self.server: Server = serve(
            self._keep,
            "127.0.0.1",
            0,
            subprotocols=[SUBPROTOCOL_MSGPACK],  # type: ignore[list-item]
            compression=None,
            ping_interval=None,
        )
        self.port: int = self.server.socket.getsockname()[1]

    def _keep(self, connection: ServerConnection) -> None:
        try:
            for message in connection:
                assert isinstance(message, bytes)
                self.received.put(message)
        except ConnectionClosed:
            return


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    thread = threading.Thread(target=peer.server.serve_forever)
    thread.start()
    yield peer
    peer.server.shutdown()
    thread.join()


@pytest.fixture
def connection(peer: Peer) -> Iterator[Connection]:
    connection = Connection(peer.port)
    yield connection
    connection.close()
