"""Compressed frames: DEFLATE (RFC 1951) with nothing in common between one frame and the next.

So what is compressed once is good for every reader, and nobody keeps a window for each connection. Sizes are
judged on what comes out, exactly, and never more of it is made than one byte over the limit.
"""

import zlib
from typing import Final

LEVEL: Final = 1
"""Fast: frames are compressed on the loop, while others wait."""

WINDOW_BITS: Final = 15
_END: Final = b"\x03\x00"
"""An empty last block: behind a stream that stands between two blocks it ends the stream."""

_SYNC: Final = b"\x00\x00\xff\xff"
"""What a flush ends with, and messages of WebSockets leave out (RFC 7692, 7.2.1)."""


def longest_deflated(bytes_max: int) -> int:
    """Return how long what was compressed may be if what comes out has ``bytes_max`` bytes at most.

    What cannot be compressed grows a little; who compresses badly is given an eighth.
    """
    return bytes_max + bytes_max // 8 + 1_024


class BadDeflate(ValueError):
    """Bytes are no compressed data, or more or less than that."""


class InflatedTooLarge(ValueError):
    """What comes out is larger than it may be."""


def deflated(payload: bytes) -> bytes:
    """Return a payload as a stream of its own, with its end."""
    return zlib.compress(payload, LEVEL, -WINDOW_BITS)


def deflated_message(payload: bytes, window_bits: int) -> bytes:
    """Return a payload as WebSockets have it: flushed, not ended, and without the flush's last bytes."""
    stream = zlib.compressobj(LEVEL, zlib.DEFLATED, -window_bits)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[: -len(_SYNC)]


def inflated(data: bytes, *, bytes_max: int) -> bytes:
    """Return what `deflated` was given.

    Raises:
        InflatedTooLarge: it has more than ``bytes_max`` bytes.
        BadDeflate: it is no whole stream, or something follows it.
    """
    inflater = Inflater(bytes_max=bytes_max)
    payload = inflater.feed(data)
    inflater.check_ended()
    return payload


class Inflater:
    """Makes one message out of its compressed pieces."""

    __slots__ = ("_left", "_stream")

    def __init__(self, *, bytes_max: int) -> None:
        self._stream = zlib.decompressobj(-WINDOW_BITS)
        self._left = bytes_max

    def feed(self, data: bytes) -> bytes:
        """Return what a piece adds to the message.

        Raises:
            InflatedTooLarge: with it, the message is larger than it may be.
            BadDeflate: it is no compressed data, or comes after the end.
        """
        try:
            payload = self._stream.decompress(data, self._left + 1)
        except zlib.error as exc:
            raise BadDeflate("a compressed frame cannot be decompressed") from exc
        self._left -= len(payload)
        if self._left < 0:
            raise InflatedTooLarge
        if len(self._stream.unused_data) > len(b"\x00" + _SYNC + _END):
            raise BadDeflate("something follows the end of the compressed data")
        return payload

    def end_message(self, data: bytes) -> bytes:
        """Return what the last piece of a WebSocket's message adds to it; raises as `feed` does."""
        payload = self.feed(data + _SYNC + _END)
        if not self._stream.eof:
            raise BadDeflate("the compressed data is cut off")
        # A sender may have ended the stream itself, and put a byte behind it for our flush (7.2.3.4).
        if self._stream.unused_data not in (b"", _SYNC + _END, b"\x00" + _SYNC + _END):
            raise BadDeflate("something follows the end of the compressed data")
        return payload

    def check_ended(self) -> None:
        """Return if the stream is at its end, and nothing followed.

        Raises:
            BadDeflate: it is not.
        """
        if not self._stream.eof:
            raise BadDeflate("the compressed data is cut off")
        if self._stream.unused_data:
            raise BadDeflate("something follows the end of the compressed data")
