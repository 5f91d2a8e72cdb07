"""A raw TCP connection with the surface of the websockets package's, written from docs/protocol.md alone."""

import asyncio
import contextlib
import ssl
import struct
import zlib
from typing import Any

from websockets.exceptions import ConnectionClosedError

from examples.wire_client import Codec

PREFACES = {
    ("imserver.v1.msgpack", False): b"IM1M",
    ("imserver.v1.json", False): b"IM1J",
    ("imserver.v1.msgpack", True): b"IM1m",
    ("imserver.v1.json", True): b"IM1j",
}
COMPRESSED = 0x8000_0000
NO_BYE = 1006


class TcpSocket:
    """Frames behind their lengths; with ``deflates`` every other one is sent compressed.

    Attributes:
        transport: of the connection.
        close_code: after the end, the code of the `bye` before it; 1006 if there was none.
        close_reason: its reason.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        codec: Codec,
        *,
        deflates: bool,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._codec = codec
        self._deflates = deflates
        self._sent = 0
        self._last: bytes | str = b""
        self.transport = writer.transport
        self.close_code = NO_BYE
        self.close_reason = ""

    @classmethod
    async def open(
        cls,
        port: int,
        codec: Codec,
        *,
        deflates: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> "TcpSocket":
        """Connect to a port of this machine and send the preface."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        writer.write(PREFACES[codec.subprotocol, deflates])
        return cls(reader, writer, codec, deflates=deflates)

    async def send(self, message: Any) -> None:
        """Send one frame."""
        payload = message.encode() if isinstance(message, str) else message
        self._sent += 1
        mark = 0
        if self._deflates and self._sent % 2:
            payload, mark = zlib.compress(payload, wbits=-15), COMPRESSED
        self._writer.write(struct.pack("!I", mark | len(payload)) + payload)
        await self._writer.drain()

    async def recv(self) -> bytes | str:
        """Return the next frame.

        Raises:
            ConnectionClosedError: there is none any more.
        """
        try:
            (length,) = struct.unpack("!I", await self._reader.readexactly(4))
            payload = await self._reader.readexactly(length & ~COMPRESSED)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._note_goodbye()
            raise ConnectionClosedError(None, None) from None
        if length & COMPRESSED:
            assert self._deflates, "a compressed frame that nobody asked for"
            payload = zlib.decompress(payload, wbits=-15)
        self._last = (
            payload if self._codec.subprotocol == "imserver.v1.msgpack" else payload.decode()
        )
        return self._last

    async def close(self) -> None:
        """Say goodbye, and wait until the server has closed."""
        self._writer.write(struct.pack("!I", 0))
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65_536):
                pass
        self._writer.close()
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Return when the connection is closed."""
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def _note_goodbye(self) -> None:
        frame = self._codec.loads(self._last) if self._last else {}
        if frame.get("t") == "bye":
            self.close_code, self.close_reason = frame["code"], frame["reason"]
