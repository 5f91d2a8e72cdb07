"""The place of a run: servers in a folder, robots with tokens, and an eye on a server's memory."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from msgspec import Raw

from imserver.protocol.client_frames import CreateGroup, Send
from imserver.protocol.server_frames import Sent
from tests.e2e.server_process import ServerProcess
from tests.pressure.line import Line, Refused

SAMPLE_S: Final = 0.2


class Site:
    """One server and the lines to it, all ended with the run."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self._lines = contextlib.ExitStack()

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, folder: Path, name: str = "data", *, environment: Mapping[str, str] | None = None
    ) -> Iterator[Self]:
        """Run a server on a data directory of its own in ``folder``."""
        server = ServerProcess(folder / name, environment=environment)
        server.start()
        site = cls(server)
        try:
            yield site
        finally:
            site._lines.close()
            if server.running:
                server.stop()

    def line(self, robot: str, *, receive_buffer: int | None = None, **hello: Any) -> Line:
        """Return a line on which ``robot`` has said hello; its ``welcome`` was read."""
        line = Line(self.server.port, receive_buffer=receive_buffer)
        self._lines.callback(line.close)
        line.hello(robot, self.server.token(robot), **hello)
        return line

    def waiting_bytes(self) -> list[int]:
        """Return what the system holds for each connection that its client has not taken yet."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        port = f":{self.server.port:04X}"
        return [int(row[4].partition(":")[0], 16) for row in rows if row[1].endswith(port)]

    def group(self, owner: Line, name: str, *members: str) -> str:
        """Create a group of robots that were online once, and return its conversation."""
        owner.request(CreateGroup(owner.next_id(), name, members=list(members)))
        return f"g/{name}"


def fill(line: Line, conv: str, count: int, body: bytes, *, in_flight: int = 500) -> int:
    """Send ``count`` messages on a line that follows nothing, and return the last one's seq.

    Raises:
        Refused: one was.
    """
    raw, last = Raw(body), 0
    for start in range(0, count, in_flight):
        ids = [line.next_id() for _ in range(min(in_flight, count - start))]
        line.tell(*(Send(number, conv, f"fill-{number}", raw) for number in ids))
        for _ in ids:
            answer = line.read()
            if not isinstance(answer, Sent):
                raise Refused(f"{answer}")
            last = max(last, answer.seq)
    return last


class Memory:
    """Watches a server's resident memory while a block runs.

    Attributes:
        before: at the beginning, in bytes.
        most: the most that was seen, in bytes.
    """

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.most = server.rss()

    @property
    def grown(self) -> int:
        """How much the most is above the beginning, in bytes."""
        return self.most - self.before

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._look()

    def _look(self) -> None:
        self.most = max(self.most, self._server.rss())


def names(prefix: str, count: int) -> list[str]:
    """Return ``count`` robots' names."""
    return [f"{prefix}{number}" for number in range(count)]
