"""A client at the other end of an HTTP link, which sends bytes as it likes."""

import asyncio
import re

import uvicorn
from uvicorn.server import ServerState

from imserver.access.http.link import HttpLink
from tests.unit.access.http.api_in_memory import Api
from tests.unit.access.recording_transport import RecordingTransport

HOST = b"Host: 127.0.0.1:7400\r\n"


class UnreadTransport(RecordingTransport):
    """A recording transport that says how much its client has not taken yet.

    Attributes:
        unsent: that many bytes.
    """

    unsent = 0

    def get_write_buffer_size(self) -> int:
        return self.unsent


class RawHttp:
    """A link of the application, and what its client gets."""

    def __init__(self, api: Api) -> None:
        config = uvicorn.Config(api.app, lifespan="off", log_config=None, access_log=False)
        config.load()
        self._api = api
        self.link = HttpLink(api.node.door, config=config, server_state=ServerState(), app_state={})
        self.transport = UnreadTransport(self.link)
        self.link.connection_made(self.transport)

    async def feed(self, *pieces: bytes) -> None:
        """Let bytes arrive, piece by piece, and let the server do what it can at once."""
        for piece in pieces:
            if self.transport.is_closing():
                return
            self.link.data_received(piece)
            await self.settle()

    async def settle(self) -> None:
        """Let everything happen that waits for nothing but its turn."""
        for _ in range(40):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: int) -> None:
        """Let so many seconds pass for the deadlines."""
        for _ in range(seconds):
            self._api.node.turn_wheel()
            await self.settle()

    @property
    def received(self) -> bytes:
        """What the client was sent."""
        return b"".join(self.transport.writes)

    @property
    def statuses(self) -> list[int]:
        """The statuses of the answers so far."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.received)]

    @property
    def is_open(self) -> bool:
        """Whether the connection is there."""
        return not self.transport.is_closing()


def head(method: str = "GET", path: str = "/healthz", *headers: str, host: bytes = HOST) -> bytes:
    """Return the head of a request."""
    lines = "".join(f"{header}\r\n" for header in headers).encode("latin-1")
    return f"{method} {path} HTTP/1.1\r\n".encode("latin-1") + host + lines + b"\r\n"
