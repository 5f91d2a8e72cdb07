"""The server under chaos: one data directory and one port, and as many lives as the faults leave it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests import processor
from tests.chaos.child import send_signal
from tests.e2e.server_process import ServerProcess
from tests.place import LOOPBACK, Place

NOBODY = -1
STAND_STILL_S = 30.0
ATTEMPT_S = 120.0
START_S = 120
"""A start that takes longer than is promised is a finding, and no end of the run."""


class Attempt(NamedTuple):
    """How a server that was started for a look fared: exit status (None: it was ready), and words."""

    status: int | None
    words: str


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
        place: Place = LOOPBACK,
        port: int = 0,
    ) -> None:
        self.data = data
        self.port = port
        self.starts = 0
        self._stderr = stderr
        self._arguments = arguments
        self._place = place
        self._environment = _environment_of(package)
        self._life: ServerProcess | None = None
        self._is_starting = False

    async def start(
        self, environment: Mapping[str, str] | None = None, *, prefix: Sequence[str] = ()
    ) -> None:
        """Start it, by the command ``prefix`` if there is one, and return when it says that it is ready."""
        life = ServerProcess(
            self.data,
            arguments=self._arguments,
            environment={**self._environment, **(environment or {})},
            prefix=(*self._place.prefix, *prefix),
            host=self._place.host,
        )
        life.stderr_path = self._stderr
        life.start_timeout_s = START_S
        life.listen_again_at(self.port)
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
        pid = self._life.pid_if_running if self._life is not None else None
        return NOBODY if pid is None else pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.pid != NOBODY

    @property
    def url(self) -> str:
        """Where robots connect to."""
        return f"ws://{self._place.host}:{self.port}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is there."""
        pid = self.pid
        if pid != NOBODY:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def silence(self) -> None:
        """Stop it, and return when nothing can be answered any more; calls of its store may be under way."""
        self.signal(signal.SIGSTOP)
        await self._wait_stopped(only_main=True)

    async def freeze(self) -> None:
        """Stop it, and return when none of its threads runs, in the system or outside."""
        self.signal(signal.SIGSTOP)
        await self._wait_stopped(only_main=False)

    async def _wait_stopped(self, *, only_main: bool) -> None:
        pid = self.pid
        async with asyncio.timeout(STAND_STILL_S):
            while self.pid == pid != NOBODY:
                if all(map(_is_stopped, _threads(pid, only_main=only_main))):
                    return
                await asyncio.sleep(0.0005)

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

    async def attempt(self, data: Path | None = None) -> Attempt:
        """Start another server on a directory, by default this one's, and end it once it is ready."""
        command = [sys.executable, "-m", "imserver", "serve", "--listen", "127.0.0.1:0"]
        process = await asyncio.create_subprocess_exec(
            *command,
            *("--data", str(data or self.data)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._environment},
        )
        assert process.stdout is not None
        words, is_ready = "", False
        try:
            async with asyncio.timeout(ATTEMPT_S):
                async for line in process.stdout:
                    words += line.decode()
                    if line.startswith(b"ready "):
                        is_ready = True
                        break
                else:
                    await process.wait()
        finally:
            send_signal(process, signal.SIGKILL)
            await process.wait()
        return Attempt(None if is_ready else process.returncode, words.strip())

    def waited_s(self) -> float:
        """Return how long its threads, all together, were ready to run and had no processor."""
        return processor.waited_s(self.pid)

    def descriptors(self) -> int:
        """Return how many files and sockets the process has open."""
        assert self._life is not None
        return self._life.descriptors()

    def enroll(self, robot: str) -> str:
        """Return an enrolment token."""
        assert self._life is not None
        return self._life.enroll(robot)

    def token(self, robot: str) -> str:
        """Return an admin's bearer token."""
        assert self._life is not None
        return self._life.token(robot, admin=True)

    def tracebacks(self) -> list[str]:
        """Return what standard error tells of unhandled errors."""
        return self._life.tracebacks() if self._life is not None else []

    def last_words(self) -> str:
        """Return the end of what was written to standard error."""
        return self._stderr.read_text()[-1_000:] if self._stderr.exists() else ""


def _threads(pid: int, *, only_main: bool) -> list[Path]:
    folder = Path(f"/proc/{pid}/task")
    return [folder / str(pid)] if only_main else list(folder.iterdir())


def _is_stopped(thread: Path) -> bool:
    try:
        state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True  # it has ended
    return state in "TtXZ"


def _environment_of(package: Path | None) -> dict[str, str]:
    """Return the environment in which ``imserver`` is the copy that stands in ``package``."""
    if package is None:
        return {}
    return {"PYTHONPATH": str(package), "PYTHONSAFEPATH": "1"}
