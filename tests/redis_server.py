"""A real Redis server of one's own, on a free port, that keeps nothing."""

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.place import LOOPBACK, Place
from tests.ports import free_port

PROGRAM = shutil.which("redis-server") or "/usr/bin/redis-server"
START_S = 20


class RedisServer:
    """One Redis process; it can be killed, paused, and started again on the same port.

    Args:
        options: of redis-server, beside those that it always gets.
    """

    def __init__(
        self,
        place: Place = LOOPBACK,
        *,
        port: int = 0,
        bind: str = "",
        options: Sequence[str] = (),
    ) -> None:
        self.host = place.host
        self._bind = bind or place.host
        self._prefix = place.prefix
        self.port = port or free_port()
        self._options = tuple(options)
        # What a replica is sent is written to a file, which no other server must find when it starts.
        self._file = Path(tempfile.gettempdir(), f"imserver-redis-{place.host}-{self.port}.rdb")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def running(self) -> bool:
        """Whether it has been started, and not killed."""
        return self._process is not None

    def option(self, name: str) -> str:
        """Return the value of one of the options that were given."""
        return self._options[self._options.index(name) + 1]

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = (
            "--port",
            str(self.port),
            "--bind",
            self._bind,
            "--protected-mode",
            "no",
            "--repl-diskless-sync-delay",
            "0",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(self._file.parent),
            "--dbfilename",
            self._file.name,
            *self._options,
        )
        self._process = subprocess.Popen(
            [*self._prefix, PROGRAM, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for whoever started it
        )
        deadline_s = time.monotonic() + START_S
        while not self._answers():
            assert time.monotonic() < deadline_s, "redis-server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as kill -9 does, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._file.unlink(missing_ok=True)

    def pause(self) -> None:
        """Keep it from doing anything."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None, "start it first"
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64) == b"+PONG\r\n"
        except OSError:
            return False


@contextlib.contextmanager
def redis_process(*options: str) -> Iterator[RedisServer]:
    """Run a Redis server for a while."""
    server = RedisServer(options=options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
