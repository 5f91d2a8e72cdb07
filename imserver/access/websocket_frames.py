"""Outbound WebSocket frames (RFC 6455, 5.2): whole messages in one unmasked frame."""

import struct
from typing import Final

from websockets.frames import Opcode

from imserver.protocol.codec import Codec

_FIN: Final = 0x80
_RSV1: Final = 0x40
_SHORT_HEADERS: Final = {
    first: [bytes((first, length)) for length in range(126)]
    for opcode in (Opcode.BINARY, Opcode.TEXT)
    for first in (_FIN | opcode, _FIN | _RSV1 | opcode)
}

_middle_header = struct.Struct("!BBH").pack
_long_header = struct.Struct("!BBQ").pack


def first_byte(codec: Codec, *, is_compressed: bool = False) -> int:
    """Return what a message of a codec begins with, in both directions."""
    opcode = Opcode.BINARY if codec.binary else Opcode.TEXT
    return _FIN | opcode | (_RSV1 if is_compressed else 0)


def in_one_frame(first: int, payload: bytes) -> bytes:
    """Return a message that begins with the byte ``first``."""
    length = len(payload)
    if length < 126:
        return _SHORT_HEADERS[first][length] + payload
    if length < 65_536:
        return _middle_header(first, 126, length) + payload
    return _long_header(first, 127, length) + payload
