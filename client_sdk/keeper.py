"""Carries what the machine notes to the robot's memory, in a thread, so that no disk stops the event loop.

One write at a time; what is noted meanwhile goes together into the next. Called by `link`.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from client_sdk.errors import MemoryFileError
from client_sdk.memory import Memory, Owner, Recollection
from client_sdk.notes import Notes

_log = logging.getLogger("client_sdk")

OnWritten = Callable[[MemoryFileError | None], None]


class Keeper:
    """A memory in use by one robot.

    ``on_written`` is called on the loop after each write, with the error if it failed; then it was the last.
    """

    def __init__(self, memory: Memory, owner: Owner, *, notes: Notes) -> None:
        self._memory = memory
        self._owner = owner
        self._notes = notes
        self._thread: ThreadPoolExecutor | None = None
        self._writing: asyncio.Future[None] | None = None
        self._has_failed = False
        self.on_written: OnWritten = _ignore

    async def open(self) -> Recollection:
        """Take hold of the memory and return what it holds.

        Raises:
            MemoryFileError: it cannot be used, and why.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="client_sdk.memory")
        try:
            return await self._loop.run_in_executor(self._thread, self._memory.open, self._owner)
        except BaseException:
            await self.aclose()
            raise

    def write(self, now_s: float) -> None:
        """Write what is due, unless a write is on its way."""
        if self._thread is None or self._has_failed:
            return
        changes = self._notes.take(now_s)
        if changes:
            self._writing = self._loop.run_in_executor(self._thread, self._memory.write, changes)
            self._writing.add_done_callback(self._wrote)

    async def drain(self) -> None:
        """Write everything that is noted until now; return when it is durable, or cannot be."""
        kept: list[bool] = []
        self._notes.add(then=lambda: kept.append(True))
        while not kept and not self._has_failed and self._thread is not None:
            self.write(self._loop.time())
            if self._writing is not None:
                await asyncio.wait([self._writing])
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Write what is noted, and let go of the memory, also if cancelled. Idempotent."""
        try:
            await self.drain()
        finally:
            await self._let_go()

    async def _let_go(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                closing = self._loop.run_in_executor(thread, self._memory.close)
                await asyncio.shield(closing)  # or it would be given up behind a write
            finally:
                thread.shutdown(wait=False)
            thread.shutdown()  # it has nothing left to do: that is no wait

    def _wrote(self, writing: asyncio.Future[None]) -> None:
        self._writing = None
        error = writing.exception() if not writing.cancelled() else None
        if error is None:
            self._notes.written()
            self.on_written(None)
            return
        self._has_failed = True
        if not isinstance(error, MemoryFileError):
            _log.error("memory.broke", exc_info=error)
            error = MemoryFileError(f"the robot's memory broke: {error!r}")
        self.on_written(error)


def _ignore(_error: MemoryFileError | None) -> None:
    """Stand in until somebody wants to know."""
