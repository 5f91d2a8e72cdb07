"""A real Redis server of one's own, on a free port of loopback, that keeps nothing."""

import asyncio
import contextlib
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

PROGRAM = shutil.which("redis-server") or "/usr/bin/redis-server"
START_S = 20


class RedisServer:
    """One Redis process; it can be stopped, killed and started again on the same port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        options = (
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        )
        quiet = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            PROGRAM, *options, stdout=quiet, stderr=quiet, cwd=Path("/tmp")
        )
        async with asyncio.timeout(START_S):
            while not await self._answers():
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """End it as kill -9 does."""
        assert self._process is not None, "start it first"
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def pause(self) -> None:
        """Keep it from doing anything."""
        assert self._process is not None, "start it first"
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        assert self._process is not None, "start it first"
        self._process.send_signal(signal.SIGCONT)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        return answer == b"+PONG\r\n"


@contextlib.asynccontextmanager
async def redis_server() -> AsyncIterator[RedisServer]:
    """Run a Redis server for a while."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    server = RedisServer(port)
    await server.start()
    try:
        yield server
    finally:
        server.go_on()
        await server.kill()
