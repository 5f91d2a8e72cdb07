"""A server under test as a process: on a core of its own, with a log, waited for and ended again."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

READY_S: Final = 60.0
STOP_S: Final = 20.0
_LOG_TAIL_CHARS: Final = 1_000
_PAUSE_S: Final = 0.02


class Place(NamedTuple):
    """Where a process runs: its core, and by how much it goes before (negative) or after others."""

    core: int
    nice: int

    def take(self) -> None:
        """Move this process there, with a session of its own.

        Where the kernel groups processes by session, niceness counts within a session only, and the
        session's own is what ranks it among others.
        """
        os.setsid()
        os.sched_setaffinity(0, {self.core})
        os.nice(self.nice)
        group = Path("/proc/self/autogroup")
        if self.nice and group.exists():
            group.write_text(str(self.nice))


class ServerFailed(Exception):
    """The server did not start, or did not end when it was told to."""


class Server:
    """A started server. Ends with the ``with`` block, whatever happens in it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        directory: Path,
        place: Place,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port: Final = port
        self.ports: Final[Sequence[int]] = ()
        self.parts: Final[Mapping[str, Sequence[int]]] = {}
        self.directory: Final = directory
        self._log: Final = directory / "server.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env={**os.environ, **(environment or {})},
                preexec_fn=place.take,  # noqa: PLW1509 (we have one thread that matters)
            )
        self.pid: Final = self._process.pid

    def wait_listening(self, ready: bytes = b"") -> None:
        """Wait until the port is open and the log holds ``ready``.

        Raises:
            ServerFailed: it ended, or was not ready in time; the text holds the end of its log.
        """
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerFailed(f"it ended with status {self._process.returncode}: {self.log}")
            if ready in self._log.read_bytes() and self._is_open():
                return
            time.sleep(_PAUSE_S)
        raise ServerFailed(f"it was not ready within {READY_S:g} s: {self.log}")

    def _is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def log(self) -> str:
        """The end of what the server wrote, without the tokens in it."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if "imt1." not in line)[-_LOG_TAIL_CHARS:]

    def tally(self) -> dict[str, float]:
        """Return what the server counts by itself: nothing that is asked for."""
        return {}

    def stop(self) -> None:
        """End the server: politely first, and after a deadline not."""
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.stop()
