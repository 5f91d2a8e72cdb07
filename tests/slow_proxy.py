"""A TCP proxy that brings what servers answer late, and in order; on loopback, in the test's own loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class SlowProxy:
    """Listens on ``port``, and passes on to another port of loopback.

    Attributes:
        delay_s: how late answers are; may be changed at any time.
        bytes_up: how many bytes clients have sent through it.
    """

    def __init__(self, target: int, *, delay_s: float) -> None:
        self._target = target
        self.delay_s = delay_s
        self.bytes_up = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        """Where it is, as a Redis."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        self._writers.append(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._writers.append(far_writer)
        for work in (self._pass_up(reader, far_writer), self._pass_down(far_reader, writer)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while some := await reader.read(65_536):
                self.bytes_up += len(some)
                writer.write(some)
                await writer.drain()
        writer.close()

    async def _pass_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while some := await reader.read(65_536):
                # Later bytes overtake nothing: the transport keeps the order, and so do timers.
                loop.call_later(self.delay_s, _write, writer, some)
        loop.call_later(self.delay_s, writer.close)

    async def aclose(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _write(writer: asyncio.StreamWriter, some: bytes) -> None:
    if not writer.is_closing():
        writer.write(some)


@contextlib.asynccontextmanager
async def slow_proxy(target: int, *, delay_s: float) -> AsyncIterator[SlowProxy]:
    """Run a proxy for a while."""
    proxy = SlowProxy(target, delay_s=delay_s)
    server = await asyncio.start_server(proxy.take, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy
        await proxy.aclose()
