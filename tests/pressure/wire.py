"""WebSocket messages as a client writes and reads them, without a library that would read ahead."""

import base64
import os
from collections.abc import Iterator
from typing import Final

from imserver.protocol.client_frames import Frame
from imserver.protocol.codec import MSGPACK, SUBPROTOCOL_MSGPACK

BINARY: Final = 0x82
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A
_KEY_ZERO: Final = b"\0\0\0\0"  # a mask like any other, which leaves the payload as it is


def upgrade_request(port: int) -> bytes:
    """Return the HTTP request that opens a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL_MSGPACK}\r\n\r\n"
    ).encode()


def message(payload: bytes, first_byte: int = BINARY) -> bytes:
    """Return a message, or a control frame, of one frame."""
    size = len(payload)
    if size < 126:
        head = bytes((first_byte, 0x80 | size))
    elif size < 65_536:
        head = bytes((first_byte, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first_byte, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + _KEY_ZERO + payload


def messages(*frames: Frame) -> bytes:
    """Return frames as messages, one after the other."""
    return b"".join(message(MSGPACK.encode(frame)) for frame in frames)


class Stream:
    """Takes what the server writes apart, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._partial = b""

    def take(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the first byte and the payload of every frame that is complete with ``chunk``."""
        stream, start = self._partial + chunk, 0
        while (ends := _ends(stream, start)) is not None:
            payload, stop = ends
            yield stream[start], stream[payload:stop]
            start = stop
        self._partial = stream[start:]


def _ends(stream: bytes, start: int) -> tuple[int, int] | None:
    """Return where the payload of the frame at ``start`` begins and ends, or None if it is incomplete."""
    if start + 2 > len(stream):
        return None
    size, payload = stream[start + 1], start + 2
    assert size < 128, "the server masked a frame"
    if size > 125:
        payload = start + (4 if size == 126 else 10)
        if payload > len(stream):
            return None
        size = int.from_bytes(stream[start + 2 : payload], "big")
    return (payload, payload + size) if payload + size <= len(stream) else None
