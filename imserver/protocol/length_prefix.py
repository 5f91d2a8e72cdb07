"""Frames on a byte stream that knows no messages (raw TCP): a preface, then each frame behind its length.

The first four bytes of a connection, sent by the client, name the codec. Then, in both directions, every
frame stands behind its length in four bytes, big-endian. A frame of length 0 is the client's goodbye.

Sans-I/O: bytes in, frames out. Used by the server's access tier and by the SDK.
"""

import struct
from typing import Final

from imserver.protocol.codec import JSON, MSGPACK, Codec

PREFACES: Final[dict[bytes, Codec]] = {b"IM1M": MSGPACK, b"IM1J": JSON}
PREFACE_BYTES: Final = 4
LENGTH_BYTES: Final = 4
GOODBYE: Final = b"\x00\x00\x00\x00"

_length: Final = struct.Struct("!I")


def preface_of(codec: Codec) -> bytes:
    """Return the first bytes of a connection that speaks ``codec``."""
    return next(preface for preface, known in PREFACES.items() if known is codec)


def framed(payload: bytes) -> bytes:
    """Return a frame's bytes behind their length."""
    return _length.pack(len(payload)) + payload


class Splitter:
    """Takes a stream apart into frames; holds at most one frame that is not complete, and never more than
    ``bytes_max`` bytes of it.

    Attributes:
        over: length of a frame that is over the limit, once one was announced; nothing is taken after it.
    """

    __slots__ = ("_bytes_max", "_needed", "_rest", "over")

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._rest: bytearray | None = None
        self._needed = 0
        self.over: int | None = None

    @property
    def is_between(self) -> bool:
        """Whether the stream stands between two frames."""
        return self._rest is None and self.over is None

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what came, in pieces of any size; return the frames that are complete, in order."""
        if self._rest is not None:
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            data, self._rest = bytes(self._rest), None
        return [] if self.over is not None else self._split(data)

    def _split(self, data: bytes) -> list[bytes]:
        frames: list[bytes] = []
        start, end_of_data = 0, len(data)
        needed = LENGTH_BYTES
        while end_of_data - start >= LENGTH_BYTES:
            (length,) = _length.unpack_from(data, start)
            if length > self._bytes_max:
                self.over = length
                return frames
            needed = LENGTH_BYTES + length
            end = start + needed
            if end > end_of_data:
                break
            frames.append(data[start + LENGTH_BYTES : end])
            start, needed = end, LENGTH_BYTES
        if start < end_of_data:
            self._rest, self._needed = bytearray(data[start:]), needed
        return frames
