"""Content codings of HTTP (RFC 9110, 8.4): which one an answer is given in, and requests without theirs.

Pure computation. The size that counts is the one that comes out, exactly, and never more of it is made than
one byte over the limit.
"""

import zlib
from collections.abc import Callable
from typing import Final

from backports import zstd

from imserver.protocol.deflate import BadDeflate, InflatedTooLarge

GZIP: Final = "gzip"
ZSTD: Final = "zstd"
IDENTITY: Final = "identity"
CODINGS: Final = (ZSTD, GZIP)
"""In the order in which they are taken if the client would have either."""

_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_LEVEL: Final = 1
"""Fast: what is answered is made for one reader, and used once."""

_WINDOW_LOG_MAX: Final = 23
"""Eight mebibytes, the largest window that this coding may ask a reader for (RFC 9659)."""


def chosen(accept_encoding: str) -> str | None:
    """Return the coding in which the client would rather have an answer; None if as it is."""
    weights = dict(_weighed(part) for part in accept_encoding.lower().split(",") if part.strip())
    rest = weights.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, rest))
    weight = weights.get(best, rest)
    return best if weight > 0 and weight >= weights.get(IDENTITY, 0.0) else None


def _weighed(part: str) -> tuple[str, float]:
    name, _, parameters = part.partition(";")
    key, _, value = parameters.strip().partition("=")
    if key.strip() != "q":
        return name.strip(), 1.0
    try:
        return name.strip(), min(1.0, max(0.0, float(value)))
    except ValueError:
        return name.strip(), 0.0


def encoded(coding: str, content: bytes) -> bytes:
    """Return content in a coding."""
    if coding == ZSTD:
        return zstd.compress(content, _LEVEL)
    return zlib.compress(content, _LEVEL, _GZIP_BITS)


class Decoder:
    """Makes a request's body out of its pieces.

    ``coded_bytes_max`` bounds what is taken in: pieces of which nothing comes out have no end otherwise.
    """

    def __init__(self, coding: str, *, bytes_max: int, coded_bytes_max: int) -> None:
        self._stream = _inflater(coding)
        self._left = bytes_max
        self._coded_left = coded_bytes_max
        self._has_ended = False

    def feed(self, piece: bytes) -> bytes:
        """Return what a piece adds to the body.

        Raises:
            InflatedTooLarge: with it, the body is larger than it may be, or its coding is.
            BadDeflate: it is not in this coding, or comes after the end.
        """
        self._coded_left -= len(piece)
        if self._coded_left < 0:
            raise InflatedTooLarge
        if self._has_ended and piece:
            raise BadDeflate("something follows the end of the compressed body")
        try:
            content, self._has_ended, rest = self._stream(piece, self._left + 1)
        except (zlib.error, zstd.ZstdError) as exc:
            raise BadDeflate("the body is not what `Content-Encoding` says") from exc
        self._left -= len(content)
        if self._left < 0:
            raise InflatedTooLarge
        if rest:
            raise BadDeflate("something follows the end of the compressed body")
        return content

    def check_ended(self) -> None:
        """Return if the body is whole.

        Raises:
            BadDeflate: it is not.
        """
        if not self._has_ended:
            raise BadDeflate("the compressed body is cut off")


def _inflater(coding: str) -> Callable[[bytes, int], tuple[bytes, bool, bytes]]:
    """Return what gives, for a piece: so many bytes that come out, whether that is all, and what is left."""
    if coding == ZSTD:
        limits = {int(zstd.DecompressionParameter.window_log_max): _WINDOW_LOG_MAX}
        frame = zstd.ZstdDecompressor(options=limits)

        def from_zstd(piece: bytes, most: int) -> tuple[bytes, bool, bytes]:
            content = b"" if frame.eof else frame.decompress(piece, most)
            return content, frame.eof, frame.unused_data if frame.eof else b""

        return from_zstd
    stream = zlib.decompressobj(_GZIP_BITS)

    def from_gzip(piece: bytes, most: int) -> tuple[bytes, bool, bytes]:
        return stream.decompress(piece, most), stream.eof, stream.unused_data

    return from_gzip
