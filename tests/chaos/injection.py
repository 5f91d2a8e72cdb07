"""Failing and slow system calls: strace, attached to a running process, tampers with what it asks for."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from tests.chaos.child import send_signal

ATTACH_S = 60.0
_INJECTED = "(INJECTED)"
_DELAYED = "(DELAYED)"


class Injection:
    """An injection that is in force."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def forget(self) -> None:
        """Drop what an earlier injection has logged."""
        self._log.unlink(missing_ok=True)

    @property
    def hits(self) -> int:
        """How many calls were tampered with so far."""
        if not self._log.exists():
            return 0
        text = self._log.read_text(errors="replace")
        return text.count(_INJECTED) + text.count(_DELAYED)

    async def wait_hit(self, *, within_s: float) -> bool:
        """Return whether a call was tampered with in time."""
        try:
            async with asyncio.timeout(within_s):
                while not self.hits:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            return False
        return True


@contextlib.asynccontextmanager
async def injected(
    pid: int, rule: str, *, calls: str, file: Path, log: Path
) -> AsyncIterator[Injection]:
    """Tamper with a process's calls on a file until the context ends.

    Args:
        pid: the process, with all its threads.
        rule: what happens to them, as strace's ``inject`` has it: ``error=EIO:when=3``.
        calls: system calls, parted by commas.
        file: the file they are about.
        log: where strace writes what it did.
    """
    injection = Injection(log)
    injection.forget()
    strace = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-qq", "-o", str(log), "-P", str(file)),
        *("-e", f"trace={calls}", "-e", f"inject={calls}:{rule}", "-p", str(pid)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await _wait_attached(strace, pid)
        yield injection
    finally:
        send_signal(strace, signal.SIGTERM)
        try:
            async with asyncio.timeout(ATTACH_S):
                await strace.wait()
        except TimeoutError:
            send_signal(
                strace, signal.SIGKILL
            )  # the kernel lets go of the traced process by itself
            await strace.wait()


async def _wait_attached(strace: asyncio.subprocess.Process, pid: int) -> None:
    async with asyncio.timeout(ATTACH_S):
        while not _all_traced(pid):
            if strace.returncode is not None:
                assert strace.stderr is not None
                words = (await strace.stderr.read()).decode()
                raise ChildProcessError(f"strace could not attach to {pid}: {words}")
            await asyncio.sleep(0.01)


def _all_traced(pid: int) -> bool:
    """Tell whether every thread of a process has a tracer; also if it has ended."""
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if "\nTracerPid:\t0\n" in status.read_text():
                return False
    return True
