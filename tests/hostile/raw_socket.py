"""A WebSocket client written by hand, byte by byte, so that it can break every rule of RFC 6455."""

import asyncio
import contextlib
import socket
import struct
from typing import ClassVar, NamedTuple, Self

from tests.e2e.server_process import ServerProcess

TIMEOUT_S = 30
RECEIVE_BUFFER_BYTES = 65_536
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_MASK = b"\x00\x00\x00\x00"  # a mask like any other, which leaves the payload as it is


class Received(NamedTuple):
    """A frame from the server."""

    opcode: int
    payload: bytes
    rsv: int = 0


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    mask: bytes = _MASK,
    length: int | None = None,
) -> bytes:
    """Return a WebSocket frame; ``length`` may lie about the payload."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    size = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    if size < 126:
        header = bytes([first, mask_bit | size])
    elif size < 65_536:
        header = struct.pack("!BBH", first, mask_bit | 126, size)
    else:
        header = struct.pack("!BBQ", first, mask_bit | 127, size)
    if not masked:
        return header + payload
    return header + mask + covered(payload, mask)


def covered(payload: bytes, mask: bytes) -> bytes:
    """Return a payload under a mask, or what is under it."""
    if not any(mask):
        return payload
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size])
    return (int.from_bytes(payload) ^ key).to_bytes(size)


def upgrade(path: str = "/v1/connect", **headers: str | None) -> bytes:
    """Return a good opening handshake, with headers changed, or left out if None."""
    fields: dict[str, str | None] = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


class RawSocket:
    """One TCP connection."""

    _opened: ClassVar[list["RawSocket"]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._opened.append(self)

    @classmethod
    async def connect(cls, server: ServerProcess, *, port: int | None = None) -> Self:
        """Connect and say nothing; to the port for HTTP and WebSockets if no other is given."""
        raw = socket.socket()
        # What is not read stays with the server: little of it fits in between.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port or server.port))
        return cls(*await asyncio.open_connection(sock=raw, limit=RECEIVE_BUFFER_BYTES))

    @classmethod
    async def upgraded(cls, server: ServerProcess, **headers: str | None) -> Self:
        """Connect and do the opening handshake."""
        raw = await cls.connect(server)
        raw.write(upgrade("/v1/connect", **headers))
        status, _ = await raw.response()
        assert status == 101
        return raw

    @classmethod
    async def in_session(cls, server: ServerProcess, robot: str) -> Self:
        """Connect and say hello in JSON, with a bearer token."""
        raw = await cls.upgraded(server, Sec_WebSocket_Protocol="imserver.v1.json")
        hello = f'{{"t":"hello","robot":"{robot}","token":"{server.token(robot)}"}}'
        raw.write(frame(TEXT, hello.encode()))
        received = await raw.read_frame()
        assert received is not None and b'"welcome"' in received.payload, received
        return raw

    def write(self, data: bytes) -> None:
        """Send bytes as they are, as fast as the system takes them."""
        self._writer.write(data)

    async def write_all(self, data: bytes, timeout_s: float) -> bool:
        """Send bytes; return whether the system took them all in time."""
        self._writer.write(data)
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(timeout_s):
                await self._writer.drain()
                return True
        return False

    async def is_held_back(self, data: bytes) -> bool:
        """Send bytes; return whether the server stopped taking them before their end."""
        self._writer.write(data)
        transport = self._writer.transport
        while True:
            left = transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(1):
                    await self._writer.drain()
            except TimeoutError:
                if transport.get_write_buffer_size() == left:
                    return True
            except ConnectionError:
                return True
            else:
                return False

    async def response(self) -> tuple[int, str]:
        """Return the status and the rest of an HTTP response without a long body."""
        async with asyncio.timeout(TIMEOUT_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            status = int(head.split(" ")[1])
            body = b"" if status == 101 else await self._reader.read(4_096)
        return status, head + body.decode()

    async def read_frame(self) -> Received | None:
        """Return the next frame, or None at the end of the connection."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                first, second = await self._reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    (size,) = struct.unpack("!H", await self._reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
                payload = await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return Received(first & 0x0F, payload, first >> 4 & 7)

    async def frames(self) -> list[Received]:
        """Return every frame until the server ends the connection; a goodbye is returned."""
        found = []
        while (received := await self.read_frame()) is not None:
            found.append(received)
            if received.opcode == CLOSE:
                self.write(frame(CLOSE, received.payload[:2]))
        return found

    async def close_code(self) -> int | None:
        """Read to the end and return the code of the close frame, after which no message may come."""
        found = await self.frames()
        closes = [index for index, received in enumerate(found) if received.opcode == CLOSE]
        if not closes:
            return None
        after = [received.opcode for received in found[closes[0] + 1 :]]
        assert set(after) <= {PONG}, f"frames after the close frame: {after}"
        (code,) = struct.unpack("!H", found[closes[0]].payload[:2])
        return int(code)

    async def wait_end(self, timeout_s: float) -> bool:
        """Return whether the server ended the connection in time, whatever it sent before."""
        try:
            async with asyncio.timeout(timeout_s):
                while await self._reader.read(65_536):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def cut(self) -> None:
        """End the connection without a goodbye."""
        self._writer.transport.abort()

    @classmethod
    async def close_all(cls) -> None:
        """End every connection that was opened since the last time."""
        opened = cls._opened[:]
        cls._opened.clear()
        for raw in opened:
            raw.cut()
        for raw in opened:
            with contextlib.suppress(ConnectionError):
                await raw._writer.wait_closed()
