"""A session over raw TCP written by hand, in JSON, that may break every rule of the framing."""

import asyncio
import json
import struct
from typing import Any

from tests.e2e.server_process import ServerProcess
from tests.hostile.raw_socket import RawSocket

PATIENCE_S = 20
TOO_LARGE = [("error", "too_large"), ("bye", 1009)]


def framed(payload: bytes, length: int | None = None) -> bytes:
    """Return a frame; ``length`` may lie about the payload."""
    return struct.pack("!I", len(payload) if length is None else length) + payload


class Line:
    """A connection to the TCP port, in JSON."""

    def __init__(self, raw: RawSocket) -> None:
        self.raw = raw

    @classmethod
    async def open(cls, server: ServerProcess, first: bytes = b"IM1J") -> "Line":
        """Connect and say the first bytes."""
        line = cls(await RawSocket.connect(server, port=server.tcp_port))
        line.raw.write(first)
        return line

    @classmethod
    async def in_session(
        cls, server: ServerProcess, robot: str, preface: bytes = b"IM1J"
    ) -> "Line":
        """Connect and say hello with a bearer token."""
        line = await cls.open(server, preface)
        hello = {"t": "hello", "robot": robot, "token": server.token(robot)}
        line.raw.write(framed(json.dumps(hello).encode()))
        assert (await line.read() or {})["t"] == "welcome"
        return line

    async def read(self) -> dict[str, Any] | None:
        """Return the next frame, or None at the end of the connection."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                (length,) = struct.unpack("!I", await self.raw._reader.readexactly(4))
                payload = await self.raw._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        frame: dict[str, Any] = json.loads(payload)
        return frame

    async def rest(self) -> list[tuple[str, Any]]:
        """Return what is said until the end: of each frame its type, and the code or id in it."""
        said = []
        while (frame := await self.read()) is not None:
            if frame["t"] not in ("signal", "deliver"):
                said.append((frame["t"], frame.get("code", frame.get("id"))))
        return said

    def end_writing(self) -> None:
        """Say no more, and go on reading."""
        self.raw._writer.write_eof()
