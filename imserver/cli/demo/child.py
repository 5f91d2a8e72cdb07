"""The demo's server: ``imserver serve`` in a process of its own, which ends with the demo."""

import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from imserver.cli.failure import CommandFailed
from imserver.data.directory import DataDirectory

READY_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
LOG_NAME: Final = "demo-server.log"
_READY: Final = "ready "
_LOG_TAIL_BYTES: Final = 4_096
_PR_SET_PDEATHSIG: Final = 1


class Server:
    """A running server: one of our own, or (without a process) somebody else's."""

    def __init__(
        self, url: str, process: asyncio.subprocess.Process | None = None, log: Path | None = None
    ) -> None:
        self.url: Final = url
        self._process = process
        self._log = log

    @property
    def ready_line(self) -> str:
        """What a server says when it takes connections."""
        return f"{_READY}{self.url}"

    async def wait_ended(self) -> None:
        """Wait for as long as the server runs; somebody else's counts as running for good.

        Raises:
            CommandFailed: our own server ended by itself.
        """
        if self._process is None or self._log is None:
            await asyncio.Event().wait()
        else:
            status = await self._process.wait()
            raise CommandFailed(f"the server ended with status {status}: {_last_line(self._log)}")


@contextlib.asynccontextmanager
async def server_process(*, listen: str, data: Path) -> AsyncIterator[Server]:
    """Run a server while the context lasts; its log is kept in ``data``.

    Raises:
        CommandFailed: it did not start; the text is its own.
    """
    log_path = DataDirectory(data).path / LOG_NAME
    command = [sys.executable, "-m", "imserver", "serve", "--listen", listen, "--data", str(data)]
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            # A group of its own: Ctrl-C is for us, who first let the robots finish.
            start_new_session=True,
            preexec_fn=functools.partial(_die_with, os.getpid()),
        )
    try:
        yield Server(await _url(process, log_path), process, log_path)
    finally:
        await _stop(process)


async def _url(process: asyncio.subprocess.Process, log_path: Path) -> str:
    if process.stdout is None:
        raise ValueError("the process must be started with a pipe as its standard output")
    line = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_TIMEOUT_S):
            line = (await process.stdout.readline()).decode().strip()
    if not line.startswith(_READY):
        raise CommandFailed(f"the server did not start: {_last_line(log_path)}")
    return line.removeprefix(_READY)


async def _stop(process: asyncio.subprocess.Process) -> None:
    _send(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except (TimeoutError, asyncio.CancelledError):  # too slow, or Ctrl-C for the second time
        _send(process, signal.SIGKILL)
        await process.wait()
        raise


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Not by terminate() or kill(): those ask first whether the process has ended, and thereby take
    # its exit status away from asyncio, which then complains on standard error and reports 255.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _last_line(log_path: Path) -> str:
    lines = log_path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").split("\n")
    said = [line for line in lines if line.strip()]
    return said[-1].removeprefix("imserver: ") if said else f"it said nothing; see {log_path}"


def _die_with(parent: int) -> None:
    """Have the kernel end this process if the demo is killed, so that no server is left on its port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # killed before we asked
            os._exit(1)
