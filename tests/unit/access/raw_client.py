"""A client at the other end of a link: speaks RFC 6455 by the websockets package, or raw bytes."""

import asyncio
from typing import Any

from msgspec import Struct
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN, Protocol, Side
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from imserver.access.door import Door
from imserver.protocol import client_frames as frames
from imserver.protocol.codec import BY_SUBPROTOCOL, MSGPACK, Codec
from imserver.protocol.server_frames import Pong, ServerFrame, Welcome
from tests.bare_link import BareLink
from tests.unit.access.node_in_memory import NodeInMemory
from tests.unit.access.recording_transport import RecordingTransport


class RawClient:
    """A link, and a client that speaks RFC 6455 to it by the websockets package."""

    def __init__(self, door: Door, *, codec: Codec = MSGPACK) -> None:
        self.link = BareLink(door)
        self.transport = RecordingTransport(self.link)
        self.codec = codec
        self.events: list[Any] = []
        self._read = 0
        self._protocol: Protocol = Protocol(Side.CLIENT, state=OPEN, max_size=None)
        self.link.connection_made(self.transport)

    async def upgrade(
        self,
        path: str = "/v1/connect",
        *,
        subprotocols: tuple[str, ...] | None = None,
        origin: str | None = None,
        deflates: bool = False,
    ) -> Response:
        """Send an opening handshake and return its answer."""
        names = (self.codec.name,) if subprotocols is None else subprotocols
        handshake = ClientProtocol(
            parse_uri(f"ws://localhost{path}"),
            subprotocols=[Subprotocol(name) for name in names] or None,
            origin=Origin(origin) if origin else None,
            extensions=[ClientPerMessageDeflateFactory()] if deflates else None,
            max_size=None,
        )
        handshake.send_request(handshake.connect())
        for data in handshake.data_to_send():
            self.link.data_received(data)
        await _turn()
        for data in self.transport.writes:
            handshake.receive_data(data)
        self._read = len(self.transport.writes)
        (response,) = handshake.events_received()
        assert isinstance(response, Response)
        self._protocol.extensions = handshake.extensions
        return response

    def feed(self, data: bytes) -> None:
        """Let bytes arrive in one piece."""
        self.link.data_received(data)

    async def say(self, *frames: Struct) -> None:
        """Send frames, each as a message, in one piece."""
        self.feed(b"".join(message(self.codec.encode(frame), self.codec) for frame in frames))
        await self.tick()

    async def tick(self) -> None:
        """Let the loop turn, and take in what was written."""
        await _turn()
        for data in self.transport.writes[self._read :]:
            self._protocol.receive_data(data)
        self._read = len(self.transport.writes)
        self.events.extend(self._protocol.events_received())

    @property
    def frames(self) -> list[ServerFrame]:
        """Return the frames of the protocol that came."""
        kinds = (Opcode.BINARY, Opcode.TEXT)
        return [
            self.codec.decode_server(bytes(event.data))
            for event in self.events
            if isinstance(event, Frame) and event.opcode in kinds
        ]

    def is_congested(self) -> bool:
        """Tell whether the link takes no pushes."""
        return self.link.congested

    def control(self, opcode: Opcode) -> list[bytes]:
        """Return the payloads of one kind of control frame that came."""
        return [bytes(e.data) for e in self.events if isinstance(e, Frame) and e.opcode is opcode]

    @property
    def close_code(self) -> int | None:
        """Return the code of the goodbye that came, if one did."""
        goodbyes = self.control(Opcode.CLOSE)
        return Close.parse(goodbyes[0]).code if goodbyes else None


async def _turn() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def message(payload: bytes, codec: Codec = MSGPACK, *, fin: bool = True) -> bytes:
    """Return a masked data frame."""
    return frame(Opcode.BINARY if codec.binary else Opcode.TEXT, payload, fin=fin)


def frame(opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a masked frame."""
    return Frame(opcode, payload, fin).serialize(mask=True)


def masked(payload: bytes, mask: bytes, *, first_byte: int = 0x82) -> bytes:
    """Return a short frame with a mask of one's own choice, made by hand."""
    assert len(payload) < 126 and len(mask) == 4
    covered = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
    return bytes((first_byte, 0x80 | len(payload))) + mask + covered


CODECS = tuple(BY_SUBPROTOCOL.values())


async def upgraded(node: NodeInMemory, codec: Codec = MSGPACK) -> RawClient:
    """Return a client after its opening handshake."""
    client = RawClient(node.door, codec=codec)
    assert (await client.upgrade()).status_code == 101
    return client


async def opened(node: NodeInMemory, codec: Codec = MSGPACK, robot: str = "r1") -> RawClient:
    """Return a client whose session is open."""
    client = await upgraded(node, codec)
    await client.say(node.hello(robot))
    assert isinstance(client.frames[-1], Welcome)
    return client


def pongs(client: RawClient) -> list[int]:
    """Return the ids of the pings that were answered."""
    return [frame.id for frame in client.frames if isinstance(frame, Pong)]


def ping(number: int, codec: Codec = MSGPACK) -> bytes:
    """Return a `ping` of the protocol, without framing."""
    return codec.encode(frames.Ping(number))
