"""What is said in the endpoint's protocol, in one codec, with the size that a case asks for."""

import json
import random
import string
from typing import Final

import msgpack

from tests.hostile.raw_socket import BINARY, TEXT

JSON: Final = "json"
MSGPACK: Final = "msgpack"
_BLOCK: Final = 997  # no divisor of anything at which a stream may be cut


class Speech:
    """Makes messages in a codec, for a member of a conversation.

    Attributes:
        codec: its name.
        opcode: of the codec's messages.
    """

    def __init__(self, codec: str, conv: str) -> None:
        self.codec = codec
        self.opcode = TEXT if codec == JSON else BINARY
        self._conv = conv
        dice = random.Random(codec)
        self._letters = "".join(dice.choices(string.ascii_letters, k=_BLOCK))
        self._bytes = dice.randbytes(_BLOCK)
        self._sent = 0

    def ask(self, number: int, size: int = 0) -> bytes:
        """Return a request that is answered at once; it takes ``size`` bytes, or as few as it can."""
        message = self._packed({"t": "ping", "id": number})
        if len(message) >= size - 2:  # what is missing could not be filled up
            return message
        if self.codec == JSON:
            return message[:-1] + b" " * (size - len(message)) + b"}"
        # A third field: one byte for its name and, with its length, the padding in it.
        return b"\x83" + message[1:] + b"\xa1p" + _binary_of(size - len(message) - 2)

    def echo(self, size: int) -> tuple[bytes, str | bytes]:
        """Return a message of ``size`` bytes, and the body in it, which comes back to its sender."""
        if self.codec == JSON:
            room = size - len(self._send(b'""'))
            text = (self._letters * (room // _BLOCK + 1))[:room]
            return self._send(f'"{text}"'.encode()), text
        room = size - len(self._send(b"\xc6\x00\x00\x00\x00"))
        body = (self._bytes * (room // _BLOCK + 1))[:room]
        return self._send(b"\xc6" + room.to_bytes(4) + body), body

    def quote(self, text: bytes) -> bytes:
        """Return a message in JSON with these very bytes as its body."""
        assert self.codec == JSON
        return self._send(b'"' + text + b'"')

    def _send(self, body: bytes) -> bytes:
        self._sent += bool(body.strip(b'"'))
        fields = {"t": "send", "id": 1, "conv": self._conv, "cid": f"c{self._sent:03}"}
        head = self._packed(fields)
        if self.codec == JSON:
            return head[:-1] + b',"body":' + body + b"}"
        return bytes([head[0] + 1]) + head[1:] + b"\xa4body" + body

    def _packed(self, fields: dict[str, object]) -> bytes:
        if self.codec == JSON:
            return json.dumps(fields, separators=(",", ":")).encode()
        packed: bytes = msgpack.packb(fields)
        return packed


def _binary_of(size: int) -> bytes:
    """Return ``size`` bytes of MessagePack that are one value."""
    if size < 2:
        return b"\xc0"
    if size < 258:
        return b"\xc4" + bytes([size - 2]) + bytes(size - 2)
    return b"\xc6" + (size - 5).to_bytes(4) + bytes(size - 5)
