"""WebSocket frames and MessagePack frames, made and taken apart with as few operations as Python allows.

Client frames are masked with the key zero, which RFC 6455 permits: the server unmasks them as any other,
and the generator has no work with it. Does not know about sockets.
"""

from struct import Struct as Layout
from typing import Final

import msgspec
from msgspec import Raw, Struct

from imserver.protocol import server_frames
from imserver.protocol.client_frames import Ack, Send
from imserver.protocol.codec import MSGPACK

BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
FINAL: Final = 0x80
CID_DIGITS: Final = 10

_KEY_ZERO: Final = b"\0\0\0\0"
_UINT32: Final = Layout(">I")
_ID_MARK: Final = 0xFEDCBA98
_SEQ_MARK: Final = 0x8FEDCBA9
_CID_MARK: Final = "~" * CID_DIGITS


class Broken(Exception):
    """The server sent what it must not, or did not send what it must: the run is void."""


class SentSeen(Struct, tag_field="t", tag="sent", gc=False):
    """What the generator needs of a ``sent``."""

    id: int
    seq: int
    dup: bool


class EventSeen(Struct, gc=False):
    """What the generator needs of an event."""

    seq: int
    cid: str
    body: Raw


class DeliverSeen(Struct, tag_field="t", tag="deliver", gc=False):
    """What the generator needs of a ``deliver``."""

    conv: str
    events: list[EventSeen]


decode: Final = msgspec.msgpack.Decoder(
    SentSeen
    | DeliverSeen
    | server_frames.Challenge
    | server_frames.Welcome
    | server_frames.Ok
    | server_frames.Pong
    | server_frames.Error
    | server_frames.SignalValue
    | server_frames.Head
    | server_frames.Gap
    | server_frames.Bye
).decode
"""Decode a server's frame; raises msgspec's errors for what is none."""


def client_frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """Return ``payload`` as one masked WebSocket frame."""
    size = len(payload)
    if size < 126:
        head = bytes((FINAL | opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((FINAL | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((FINAL | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + _KEY_ZERO + payload


def scan(stream: bytes | bytearray, start: int) -> tuple[list[tuple[int, int, int]], int]:
    """Find the complete server frames in ``stream`` from ``start`` on.

    Returns (first byte, start of payload, end of payload) of each, and where the first incomplete one begins.

    Raises:
        Broken: a frame is masked, which a server's must not be.
    """
    found = []
    end = len(stream)
    while start + 2 <= end:
        size = stream[start + 1]
        payload = start + 2
        if size > 125:
            if size == 126:
                payload = start + 4
            elif size == 127:
                payload = start + 10
            else:
                raise Broken("the server masked a frame")
            if payload > end:
                break
            size = int.from_bytes(stream[start + 2 : payload], "big")
        stop = payload + size
        if stop > end:
            break
        found.append((stream[start], payload, stop))
        start = stop
    return found, start


class SendTemplate:
    """Makes ``send`` frames of one sender that differ in ``id`` and ``cid`` alone."""

    def __init__(self, *, conv: str, cid_prefix: str, body: bytes) -> None:
        """Take a ``body`` in MessagePack; cids will be ``cid_prefix`` and ten digits."""
        mark = _UINT32.pack(_ID_MARK)
        frame = Send(id=_ID_MARK, conv=conv, cid=cid_prefix + _CID_MARK, body=Raw(body))
        self._before_id, _, rest = client_frame(MSGPACK.encode(frame)).partition(mark)
        self._before_cid, _, self._after_cid = rest.partition(_CID_MARK.encode())

    def __call__(self, number: int) -> bytes:
        """Return the frame of the sender's message ``number`` (its id, and the digits of its cid)."""
        return b"%b%b%b%010d%b" % (
            self._before_id,
            _UINT32.pack(number),
            self._before_cid,
            number,
            self._after_cid,
        )


class AckTemplate:
    """Makes the ``ack`` frames of one conversation."""

    def __init__(self, conv: str) -> None:
        frame = client_frame(MSGPACK.encode(Ack(conv=conv, seq=_SEQ_MARK)))
        self._before, _, self._after = frame.partition(_UINT32.pack(_SEQ_MARK))

    def __call__(self, seq: int) -> bytes:
        """Return the frame that acks everything up to ``seq``."""
        return self._before + _UINT32.pack(seq) + self._after


def body_of(size: int) -> bytes:
    """Return a text in MessagePack of ``size`` bytes with its header (34 to 257, or 259 and more)."""
    header_size = 2 if size <= 257 else 3
    return msgspec.msgpack.encode("x" * (size - header_size))
