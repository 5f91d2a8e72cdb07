"""Frames on a byte stream that knows no messages (raw TCP): a preface, then each frame behind its length.

The first four bytes of a connection, sent by the client, name the codec, and whether frames may be
compressed. Then, in both directions, every frame stands behind its length in four bytes, big-endian. A frame
of length 0 is the client's goodbye. Where frames may be compressed, the first bit of a length says that this
one is, and the rest counts the compressed bytes.

Sans-I/O: bytes in, frames out. Used by the server's access tier and by the SDK.
"""

import struct
from typing import Final, NamedTuple

from imserver.protocol.codec import JSON, MSGPACK, Codec
from imserver.protocol.deflate import (
    BadDeflate,
    InflatedTooLarge,
    deflated,
    inflated,
    longest_deflated,
)
from imserver.protocol.errors import ErrorCode


class Preface(NamedTuple):
    """What the first bytes of a connection say."""

    codec: Codec
    deflates: bool


PREFACES: Final[dict[bytes, Preface]] = {
    b"IM1M": Preface(MSGPACK, deflates=False),
    b"IM1J": Preface(JSON, deflates=False),
    b"IM1m": Preface(MSGPACK, deflates=True),
    b"IM1j": Preface(JSON, deflates=True),
}
PREFACE_BYTES: Final = 4
LENGTH_BYTES: Final = 4
GOODBYE: Final = b"\x00\x00\x00\x00"

_COMPRESSED: Final = 0x8000_0000
_length: Final = struct.Struct("!I")


def preface_of(codec: Codec, *, deflates: bool = False) -> bytes:
    """Return the first bytes of a connection that speaks ``codec``."""
    wanted = (codec, deflates)
    return next(preface for preface, known in PREFACES.items() if known == wanted)


def framed(payload: bytes) -> bytes:
    """Return a frame's bytes behind their length."""
    return _length.pack(len(payload)) + payload


def framed_deflated(payload: bytes, *, bytes_min: int) -> bytes:
    """Return a frame's bytes behind their length, compressed unless they are few or would not shrink."""
    if len(payload) >= bytes_min:
        shrunk = deflated(payload)
        if len(shrunk) < len(payload):
            return _length.pack(_COMPRESSED | len(shrunk)) + shrunk
    return framed(payload)


class Unreadable(NamedTuple):
    """Why a stream cannot be read on: an announced frame is too large, or a compressed one is none."""

    code: ErrorCode
    message: str


class Splitter:
    """Takes a stream apart into frames, one at a time: a small piece may hold many large ones, compressed.

    Attributes:
        unreadable: why nothing more is taken, once that is so.
    """

    __slots__ = ("_bytes_max", "_deflates", "_needed", "_rest", "_start", "unreadable")

    def __init__(self, *, bytes_max: int, deflates: bool = False) -> None:
        self._bytes_max = bytes_max
        self._deflates = deflates
        self._rest: bytes | bytearray = b""
        self._start = 0
        self._needed = LENGTH_BYTES
        self.unreadable: Unreadable | None = None

    @property
    def is_between(self) -> bool:
        """Whether the stream stands between two frames."""
        return len(self._rest) == self._start and self.unreadable is None

    def put(self, data: bytes) -> None:
        """Take in what came, in pieces of any size; what is there already should have been asked for."""
        if self._start == len(self._rest):
            self._rest, self._start = data, 0
            return
        if isinstance(self._rest, bytes):
            self._rest, self._start = bytearray(self._rest[self._start :]), 0
        self._rest += data

    def next(self) -> bytes | None:
        """Return the next frame, or None if none is complete; the client's goodbye is an empty one."""
        rest, start = self._rest, self._start
        if self.unreadable is not None or len(rest) - start < self._needed:
            return None
        (length,) = _length.unpack_from(rest, start)
        is_compressed = self._deflates and length >= _COMPRESSED
        if is_compressed:
            length -= _COMPRESSED
        if length > (longest_deflated(self._bytes_max) if is_compressed else self._bytes_max):
            self._refuse(ErrorCode.TOO_LARGE, f"{length} were announced")
            return None
        self._needed = LENGTH_BYTES + length
        end = start + self._needed
        if len(rest) < end:
            return None
        if isinstance(rest, bytearray):
            rest = self._rest = bytes(
                rest
            )  # from here on it is taken apart without copies of the rest
        payload = rest[start + LENGTH_BYTES : end]
        self._start, self._needed = end, LENGTH_BYTES
        if end == len(rest):
            self._rest, self._start = b"", 0  # who is idle holds nothing
        return self._inflated(payload) if is_compressed else payload

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what came; return the frames that are complete, in order."""
        self.put(data)
        frames = []
        while (frame := self.next()) is not None:
            frames.append(frame)
        return frames

    def _inflated(self, payload: bytes) -> bytes | None:
        try:
            frame = inflated(payload, bytes_max=self._bytes_max)
        except InflatedTooLarge:
            self._refuse(ErrorCode.TOO_LARGE, "a compressed one has more")
        except BadDeflate as exc:
            self.unreadable = Unreadable(ErrorCode.BAD_FRAME, str(exc))
        else:
            if frame:
                return frame
            self.unreadable = Unreadable(ErrorCode.BAD_FRAME, "a compressed frame holds nothing")
        return None

    def _refuse(self, code: ErrorCode, fact: str) -> None:
        most = f"a frame may have {self._bytes_max} bytes at most, and {fact}"
        self.unreadable = Unreadable(code, f"{most}; send large things in parts")
        self._rest, self._start = b"", 0
