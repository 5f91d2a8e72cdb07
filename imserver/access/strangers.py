"""What is said on the raw TCP port to those who do not speak its protocol.

They are answered in a language of their own where that can be told from their first bytes, so that whoever
mixed up two ports or two settings reads why nothing works.
"""

from typing import Final

from imserver.protocol.codec import JSON
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.length_prefix import PREFACES, framed
from imserver.protocol.server_frames import Bye, Error

_TLS_HANDSHAKE: Final = b"\x16\x03"
_TLS_ALERT: Final = bytes((0x15, 3, 1, 0, 2, 2, 40))
"""A fatal `handshake_failure` (RFC 5246, 7.2)."""

_HTTP: Final = frozenset(
    {b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"CONN", b"OPTI", b"TRAC", b"PATC", b"PRI "}
)
_NAMES: Final = ", ".join(sorted(preface.decode() for preface in PREFACES))
_TEXT: Final = f"this port speaks imserver over raw TCP: the first four bytes are one of {_NAMES}"


def answer_to(first: bytes) -> bytes:
    """Return what is answered to a stranger whose first four bytes are no preface of ours."""
    if first.startswith(_TLS_HANDSHAKE):
        return _TLS_ALERT
    if first in _HTTP:
        text = f"{_TEXT}; HTTP and WebSocket have another port.\n".encode()
        head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text
    error = Error(ErrorCode.UNSUPPORTED, _TEXT, fatal=True)
    return framed(JSON.encode(error)) + framed(JSON.encode(Bye(CloseCode.PROTOCOL_ERROR, _TEXT)))
