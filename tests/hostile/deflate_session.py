"""A client that speaks permessage-deflate (RFC 7692) by zlib alone, so that it can break every rule."""

import json
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self

import msgpack

from tests.e2e.server_process import ServerProcess
from tests.hostile.raw_socket import BINARY, CLOSE, CONT, TEXT, RawSocket, frame

SYNC: Final = b"\x00\x00\xff\xff"
RSV1: Final = 4


class Offer(NamedTuple):
    """What a client asks for, and the largest window that it can then be sent."""

    header: str
    window_bits: int = 15


PLAIN: Final = Offer("permessage-deflate")


def shrunk(payload: bytes, *, window_bits: int = 15, level: int = 6) -> bytes:
    """Return a message as it is sent."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -window_bits)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(SYNC)


def message(opcode: int, compressed: bytes, cut: int = 0) -> bytes:
    """Return the frames of a compressed message, cut into pieces of a size, or in one."""
    step = cut or len(compressed) or 1
    pieces = [compressed[start : start + step] for start in range(0, len(compressed), step)]
    last = len(pieces) - 1
    return b"".join(
        frame(opcode if n == 0 else CONT, piece, fin=n == last, rsv=0 if n else RSV1)
        for n, piece in enumerate(pieces)
    )


class DeflateSession:
    """A session whose client agreed on compression.

    Attributes:
        raw: the connection.
        opcode: of its messages.
        compressed_frames: how many compressed frames came.
    """

    def __init__(self, raw: RawSocket, offer: Offer, opcode: int) -> None:
        self.raw = raw
        self.opcode = opcode
        self.compressed_frames = 0
        self._offer = offer
        self._count = 0

    @classmethod
    async def open(
        cls, server: ServerProcess, robot: str, offer: Offer = PLAIN, *, codec: str = "msgpack"
    ) -> Self:
        """Connect, agree, and say hello with a bearer token."""
        raw = await RawSocket.upgraded(
            server,
            Sec_WebSocket_Extensions=offer.header,
            Sec_WebSocket_Protocol=f"imserver.v1.{codec}",
        )
        session = cls(raw, offer, BINARY if codec == "msgpack" else TEXT)
        session.say(session.pack(t="hello", robot=robot, token=server.token(robot)))
        await session.until(lambda fields: fields["t"] == "welcome")
        return session

    def pack(self, **fields: Any) -> bytes:
        """Return a frame of the protocol."""
        if self.opcode == TEXT:
            return json.dumps(fields).encode()
        packed: bytes = msgpack.packb(fields)
        return packed

    def say(self, payload: bytes, cut: int = 0) -> None:
        """Send a compressed message."""
        self.raw.write(message(self.opcode, shrunk(payload), cut))

    async def request(self, t: str, **fields: Any) -> dict[str, Any]:
        """Send a request, and return its answer."""
        self._count += 1
        self.say(self.pack(t=t, id=self._count, **fields))
        return await self.until(lambda fields: fields.get("id") == self._count)

    async def until(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the next frame that is wanted; an error that is not ends the test."""
        while True:
            received = await self.raw.read_frame()
            assert received is not None and received.opcode == self.opcode, received
            payload = received.payload
            if received.rsv:
                self.compressed_frames += 1
                inflater = zlib.decompressobj(-self._offer.window_bits)
                payload = inflater.decompress(payload + SYNC)
            fields = json.loads(payload) if self.opcode == TEXT else msgpack.unpackb(payload)
            if wanted(fields):
                found: dict[str, Any] = fields
                return found
            assert fields["t"] != "error", fields

    async def echo(self, conv: str, body: Any, cut: int = 0) -> None:
        """Send a message, and see it come back as it was."""
        self._count += 1
        cid = f"c{self._count}"
        self.say(self.pack(t="send", id=self._count, conv=conv, cid=cid, body=body), cut)
        delivered = await self.until(
            lambda fields: fields["t"] == "deliver" and fields["events"][-1]["cid"] == cid
        )
        event = delivered["events"][-1]
        assert event["body"] == body
        self.raw.write(frame(self.opcode, self.pack(t="ack", conv=conv, seq=event["seq"])))

    async def ending(self) -> tuple[list[str], int | None]:
        """Return the codes of the errors until the end, and the code of the goodbye."""
        codes: list[str] = []
        while (received := await self.raw.read_frame()) is not None:
            if received.opcode == CLOSE:
                return codes, int.from_bytes(received.payload[:2])
            if received.opcode == self.opcode and not received.rsv:
                load = json.loads if self.opcode == TEXT else msgpack.unpackb
                fields = load(received.payload)
                codes += [fields["code"]] if fields["t"] == "error" else []
        return codes, None
