"""A client at the other end of a raw TCP link: speaks the protocol behind lengths, or raw bytes."""

import asyncio
from typing import TypeVar

from msgspec import Struct

from imserver.access.door import Door
from imserver.access.tcp import TcpLink
from imserver.protocol.codec import MSGPACK, Codec
from imserver.protocol.length_prefix import Splitter, framed, preface_of
from imserver.protocol.server_frames import ServerFrame, Welcome
from tests.unit.access.node_in_memory import NodeInMemory
from tests.unit.access.recording_transport import RecordingTransport

F = TypeVar("F", bound=Struct)


class TcpClient:
    """A link, and a client of it.

    Attributes:
        frames: what came, decoded.
    """

    def __init__(self, door: Door, codec: Codec = MSGPACK, *, deflates: bool = False) -> None:
        self.link = TcpLink(door)
        self.preface = preface_of(codec, deflates=deflates)
        self.transport = RecordingTransport(self.link)
        self.codec = codec
        self.frames: list[ServerFrame] = []
        self._splitter = Splitter(bytes_max=2**30, deflates=deflates)
        self._read = 0
        self.link.connection_made(self.transport)

    async def feed(self, *pieces: bytes) -> None:
        """Let bytes arrive, piece by piece, and take in what is answered."""
        for piece in pieces:
            self.link.data_received(piece)
        await self.tick()

    async def greet(self) -> None:
        """Send the preface."""
        await self.feed(self.preface)

    async def say(self, *frames: Struct) -> None:
        """Send frames, in one piece."""
        await self.feed(b"".join(framed(self.codec.encode(frame)) for frame in frames))

    async def end(self) -> None:
        """Send the end of the stream."""
        if not self.link.eof_received():
            self.transport.close()
        await self.tick()

    async def tick(self) -> None:
        """Let the loop turn, and take in what was written."""
        for _ in range(8):
            await asyncio.sleep(0)
        written = b"".join(self.transport.writes[self._read :])
        self._read = len(self.transport.writes)
        self.frames += [self.codec.decode_server(frame) for frame in self._splitter.feed(written)]

    def of(self, kind: type[F]) -> list[F]:
        """Return the frames of one kind that came."""
        return [frame for frame in self.frames if isinstance(frame, kind)]

    @property
    def bytes_written(self) -> bytes:
        """Return all that was written, as it was."""
        return b"".join(self.transport.writes)

    def is_over(self) -> bool:
        """Tell whether the server has ended the connection in good order."""
        ended = self.transport.is_ended() or self.transport.is_closed()
        return ended and not self.transport.is_aborted()


async def greeted(
    node: NodeInMemory, codec: Codec = MSGPACK, *, deflates: bool = False
) -> TcpClient:
    """Return a client whose preface is in."""
    client = TcpClient(node.door, codec, deflates=deflates)
    await client.greet()
    return client


async def opened(
    node: NodeInMemory, codec: Codec = MSGPACK, robot: str = "r1", *, deflates: bool = False
) -> TcpClient:
    """Return a client whose session is open."""
    client = await greeted(node, codec, deflates=deflates)
    await client.say(node.hello(robot))
    assert isinstance(client.frames[-1], Welcome), client.frames
    return client
