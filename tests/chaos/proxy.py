"""A TCP proxy between robots and server that spoils the network at will.

The weather holds for every connection at once, old and new, until it is changed. Bytes are never altered,
reordered or invented: TCP does not do that either.
"""

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass

CHUNK = 64 * 1024
TRICKLE_S = 0.02
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Weather:
    """How the network is.

    Attributes:
        stalled: nothing is passed on; ``up`` from robots to server, ``down`` the other way.
        one_byte: each byte is a segment of its own.
        delay_s: each chunk waits this long at most, drawn evenly.
        bytes_per_s: so much passes each way of each connection; any amount if None.
        cut_after: every connection ends by a reset once it has passed so many bytes, drawn evenly up to it.
        half_close_after: the same, but only one direction is closed, in good order.
        refuses: new connections are closed at once.
    """

    stalled: frozenset[str] = frozenset()
    one_byte: bool = False
    delay_s: float = 0.0
    bytes_per_s: int | None = None
    cut_after: int | None = None
    half_close_after: int | None = None
    refuses: bool = False


CALM = Weather()


class Proxy:
    """Listens on loopback and passes on to a port of loopback.

    Attributes:
        port: where it listens.
        target: where it passes on to.
        resets: connections that it has reset.
    """

    def __init__(self, dice: random.Random) -> None:
        self.port = 0
        self.target = 0
        self.resets = 0
        self._dice = dice
        self._weather = CALM
        self._changed = asyncio.Event()
        self._pipes: set[_Pipe] = set()
        self._server: asyncio.Server | None = None

    @property
    def weather(self) -> Weather:
        """How the network is now."""
        return self._weather

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Cut everything and end."""
        if self._server is not None:
            self._server.close()
        for pipe in list(self._pipes):
            pipe.reset()
        if self._server is not None:
            await self._server.wait_closed()

    def change(self, weather: Weather) -> None:
        """Let the weather change, for connections that are open too."""
        self._weather = weather
        self._changed.set()
        self._changed = asyncio.Event()
        for pipe in self._pipes:
            pipe.draw_budget(weather, self._dice)

    def reset_all(self) -> int:
        """Reset every open connection now; return how many."""
        pipes = list(self._pipes)
        for pipe in pipes:
            pipe.reset()
        self.resets += len(pipes)
        return len(pipes)

    async def wait_changed(self) -> None:
        """Return when the weather is another."""
        await self._changed.wait()

    def drawn_delay_s(self) -> float:
        """Return how long the next chunk waits."""
        return self._dice.uniform(0.0, self._weather.delay_s)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._weather.refuses:
            writer.transport.abort()
            return
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pipe = _Pipe(self, (reader, writer), there)
        pipe.draw_budget(self._weather, self._dice)
        self._pipes.add(pipe)
        try:
            await pipe.run()
        finally:
            self._pipes.discard(pipe)


class _Pipe:
    """One connection, both ways."""

    def __init__(
        self,
        proxy: Proxy,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._here = here
        self._there = there
        self._budget: int | None = None
        for _, writer in (here, there):
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def draw_budget(self, weather: Weather, dice: random.Random) -> None:
        """Draw after how many bytes this connection breaks."""
        most = weather.cut_after or weather.half_close_after
        self._budget = dice.randint(1, most) if most else None

    def reset(self) -> None:
        """End it by RST, both ways."""
        for _, writer in (self._here, self._there):
            connection: socket.socket = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            writer.transport.abort()

    async def run(self) -> None:
        """Pass bytes on until either side has gone."""
        up = asyncio.create_task(self._pump("up", self._here[0], self._there[1]))
        down = asyncio.create_task(self._pump("down", self._there[0], self._here[1]))
        try:
            await asyncio.wait({up, down})
        finally:
            for pump in (up, down):
                pump.cancel()
            for _, writer in (self._here, self._there):
                writer.close()

    async def _pump(
        self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(CHUNK):
                await self._wait_passable(way)
                if not await self._pass_on(data, writer):
                    return
            await self._wait_passable(way)
            writer.write_eof()
        except (OSError, RuntimeError):
            self.reset()

    async def _wait_passable(self, way: str) -> None:
        while way in self._proxy.weather.stalled:
            await self._proxy.wait_changed()

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> bool:
        """Write the bytes as the weather has it; tell whether this direction goes on."""
        weather = self._proxy.weather
        if weather.delay_s:
            await asyncio.sleep(self._proxy.drawn_delay_s())
        if self._budget is not None and len(data) >= self._budget:
            writer.write(data[: self._budget])
            self._budget = None
            if weather.half_close_after is not None:
                writer.write_eof()
                return False
            await asyncio.sleep(0)  # what was allowed leaves before the reset
            self._proxy.resets += 1
            self.reset()
            return False
        if self._budget is not None:
            self._budget -= len(data)
        if weather.one_byte:
            await self._dribble(data, writer)
        elif weather.bytes_per_s is not None:
            await self._trickle(data, writer)
        else:
            writer.write(data)
            await writer.drain()
        return True

    async def _dribble(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        for at in range(len(data)):
            if not self._proxy.weather.one_byte:
                writer.write(data[at:])
                break
            writer.write(data[at : at + 1])
            await asyncio.sleep(0)
        await writer.drain()

    async def _trickle(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        at = 0
        while at < len(data):
            rate = self._proxy.weather.bytes_per_s
            step = len(data) if rate is None else max(1, int(rate * TRICKLE_S))
            writer.write(data[at : at + step])
            at += step
            await writer.drain()
            if rate is not None:
                await asyncio.sleep(TRICKLE_S)
