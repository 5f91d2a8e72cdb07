"""A way to a server that breaks: each connection after so many bytes, until it has broken often enough."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self


class Cutter:
    """Listens on a port of loopback and passes on; the first connections die after some bytes each.

    Attributes:
        cut: how many have died so far.
    """

    def __init__(self, port: Callable[[], int], budgets: list[int]) -> None:
        self._target = port
        self._budgets = budgets
        self.cut = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            up, out = await asyncio.open_connection("127.0.0.1", self._target())
            budget = [self._budgets.pop(0) if self._budgets else 2**60]
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, out, budget, (writer, out)))
                tasks.create_task(self._pass(up, writer, budget, (writer, out)))
        writer.close()

    async def _pass(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        budget: list[int],
        both: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(16_384):
                sink.write(data[: budget[0]])
                await sink.drain()
                budget[0] -= len(data)
                if budget[0] <= 0:
                    self.cut += 1
                    break
        for each in both if budget[0] <= 0 else (sink,):
            each.close()
