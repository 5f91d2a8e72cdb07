"""A raw TCP connection with the surface of the websockets package's, written from docs/protocol.md alone."""

import asyncio
import contextlib
import ssl
import struct
from typing import Any

from websockets.exceptions import ConnectionClosedError

from examples.wire_client import Codec

PREFACES = {"imserver.v1.msgpack": b"IM1M", "imserver.v1.json": b"IM1J"}
NO_BYE = 1006


class TcpSocket:
    """Frames behind their lengths.

    Attributes:
        transport: of the connection.
        close_code: after the end, the code of the `bye` before it; 1006 if there was none.
        close_reason: its reason.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, codec: Codec
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._codec = codec
        self._last: bytes | str = b""
        self.transport = writer.transport
        self.close_code = NO_BYE
        self.close_reason = ""

    @classmethod
    async def open(
        cls, host: str, port: int, codec: Codec, *, tls: ssl.SSLContext | None = None
    ) -> "TcpSocket":
        """Connect and send the preface."""
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        writer.write(PREFACES[codec.subprotocol])
        return cls(reader, writer, codec)

    async def send(self, message: Any) -> None:
        """Send one frame."""
        payload = message.encode() if isinstance(message, str) else message
        self._writer.write(struct.pack("!I", len(payload)) + payload)
        await self._writer.drain()

    async def recv(self) -> bytes | str:
        """Return the next frame.

        Raises:
            ConnectionClosedError: there is none any more.
        """
        try:
            (length,) = struct.unpack("!I", await self._reader.readexactly(4))
            payload = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._note_goodbye()
            raise ConnectionClosedError(None, None) from None
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
