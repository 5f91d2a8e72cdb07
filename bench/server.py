"""The server under test: started as its users start it, on a core of its own, and ended again."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple

READY_S: Final = 20.0
STOP_S: Final = 15.0
_LOG_TAIL_CHARS: Final = 2_000


class Place(NamedTuple):
    """Where a process runs: its core, and by how much it goes before (negative) or after others."""

    core: int
    nice: int

    def take(self) -> None:
        """Move this process there."""
        os.sched_setaffinity(0, {self.core})
        os.nice(self.nice)


class ServerFailed(Exception):
    """The server did not start, or did not end when it was told to."""


class Server:
    """An ``imserver serve`` on a free loopback port, with a data directory of its own."""

    def __init__(self, directory: Path, *, place: Place, arguments: tuple[str, ...] = ()) -> None:
        """Start the server and wait until it is ready.

        Raises:
            ServerFailed: it ended, or was not ready in time; the text holds the end of its log.
        """
        self._log_path = directory / "server.log"
        self.data: Final = directory / "store"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "imserver", "serve", "--listen", "127.0.0.1:0"),
                    *("--data", str(self.data), *arguments),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                preexec_fn=place.take,  # noqa: PLW1509 (we have one thread)
            )
        self.pid: Final = self._process.pid
        try:
            self.port: Final = self._wait_ready()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _wait_ready(self) -> int:
        stdout = self._process.stdout
        assert stdout is not None
        deadline = time.monotonic() + READY_S
        text = b""
        while b"ready http://" not in text or not text.endswith(b"\n"):
            text += self._read_some(stdout, deadline)
        line = next(line for line in text.splitlines() if line.startswith(b"ready http://"))
        return int(line.rpartition(b":")[2])

    def _read_some(self, stdout: IO[bytes], deadline: float) -> bytes:
        readable, _, _ = select.select([stdout], [], [], max(deadline - time.monotonic(), 0))
        chunk = os.read(stdout.fileno(), 4_096) if readable else b""
        if not chunk:
            raise ServerFailed(f"the server was not ready within {READY_S:g} s:\n{self.log_tail()}")
        return chunk

    def log_tail(self) -> str:
        """Return the end of what the server wrote to standard error, without the tokens in it."""
        lines = self._log_path.read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if "imt1." not in line)[-_LOG_TAIL_CHARS:]

    def stop(self) -> None:
        """End the server: politely first, and after a deadline not.

        Raises:
            ServerFailed: it had to be killed, or its exit status was not 0.
        """
        self._process.terminate()
        try:
            status = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise ServerFailed(f"the server did not end within {STOP_S:g} s of SIGTERM") from None
        if status:
            raise ServerFailed(f"the server ended with status {status}:\n{self.log_tail()}")

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
