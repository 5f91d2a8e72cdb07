"""The server under chaos: one data directory and one port, and as many lives as the faults leave it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.server_process import ServerProcess

NOBODY = -1


class ChaosServer:
    """A server that is killed and started again.

    Attributes:
        data: its data directory.
        port: where it listens, from its first start on.
        starts: how often it was started.
    """

    def __init__(
        self,
        data: Path,
        stderr: Path,
        *,
        arguments: tuple[str, ...] = (),
        package: Path | None = None,
    ) -> None:
        self.data = data
        self.port = 0
        self.starts = 0
        self._stderr = stderr
        self._arguments = arguments
        self._environment = _environment_of(package)
        self._life: ServerProcess | None = None
        self._is_starting = False

    async def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it and return when it says that it is ready."""
        life = ServerProcess(
            self.data,
            arguments=self._arguments,
            environment={**self._environment, **(environment or {})},
        )
        life.stderr_path = self._stderr
        life.port = self.port
        self._life = life
        self._is_starting = True
        try:
            await asyncio.to_thread(life.start)
        finally:
            self._is_starting = False
        self.port = life.port
        self.starts += 1

    @property
    def pid(self) -> int:
        """The process, or `NOBODY`."""
        return self._life.pid if self._life is not None and self._life.running else NOBODY

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.pid != NOBODY

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is there."""
        pid = self.pid
        if pid != NOBODY:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def kill(self) -> None:
        """End it by SIGKILL, if it is there."""
        if self._life is None:
            return
        while self._is_starting and not self.running:
            await asyncio.sleep(0.002)  # the process is about to be made
        self.signal(signal.SIGKILL)
        await self.wait_exit()

    async def wait_exit(self, *, within_s: float = 20.0) -> int | None:
        """Return the exit status once it has ended by itself, or None if it has not in time."""
        assert self._life is not None
        try:
            async with asyncio.timeout(within_s):
                while self.running:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            return None
        return await asyncio.to_thread(self._life.wait_stopped)

    async def start_second(self) -> tuple[int | None, str]:
        """Start another server on the same directory; return its exit status (None: it runs) and words."""
        command = [sys.executable, "-m", "imserver", "serve", "--listen", "127.0.0.1:0"]
        process = await asyncio.create_subprocess_exec(
            *command,
            "--data",
            str(self.data),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._environment},
        )
        try:
            async with asyncio.timeout(10):
                words, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return None, "it runs"
        return process.returncode, words.decode().strip()

    def descriptors(self) -> int:
        """Return how many files and sockets the process has open."""
        assert self._life is not None
        return self._life.descriptors()

    def enroll(self, robot: str) -> str:
        """Return an enrolment token."""
        assert self._life is not None
        return self._life.enroll(robot)

    def tracebacks(self) -> list[str]:
        """Return what standard error tells of unhandled errors."""
        return self._life.tracebacks() if self._life is not None else []

    def last_words(self) -> str:
        """Return the end of what was written to standard error."""
        return self._stderr.read_text()[-1_000:] if self._stderr.exists() else ""


def _environment_of(package: Path | None) -> dict[str, str]:
    """Return the environment in which ``imserver`` is the copy that stands in ``package``."""
    if package is None:
        return {}
    return {"PYTHONPATH": str(package), "PYTHONSAFEPATH": "1"}
