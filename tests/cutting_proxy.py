"""A TCP proxy that cuts log streams in the middle, also of an event; everything else it passes on.

It runs in threads, so that tests with and without an event loop can stand beside it.
"""

import contextlib
import random
import socket
import threading
from typing import Final

STREAM: Final = b"text/event-stream"
_END_OF_HEAD: Final = b"\r\n\r\n"


class CuttingProxy:
    """Listens on a port of loopback, and passes on to another.

    Attributes:
        port: where it listens.
        cuts: how many streams it still cuts; after those it passes everything on.
        cut: how many it has cut.
    """

    def __init__(self, target: int, dice: random.Random, *, cuts: int, bytes_max: int) -> None:
        self.cuts = cuts
        self.cut = 0
        self._target = target
        self._dice = dice
        self._bytes_max = bytes_max
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections, and end those that are there."""
        # To close alone would not wake the thread that waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            _end(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                self._sockets += [client, server]
                for work in (self._pass_up, self._pass_down):
                    threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _pass_up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                server.sendall(data)
        _end(server)

    def _pass_down(self, client: socket.socket, server: socket.socket) -> None:
        left: int | None = None
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                if left is None and STREAM in data and self.cuts:
                    self.cuts -= 1
                    head = data.index(_END_OF_HEAD) + len(_END_OF_HEAD)
                    left = head + self._dice.randrange(1, self._bytes_max)
                if left is not None and len(data) >= left:
                    client.sendall(data[:left])
                    self.cut += 1
                    break
                client.sendall(data)
                left = None if left is None else left - len(data)
        _end(client)
        _end(server)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
