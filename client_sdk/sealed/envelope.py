"""The form of what travels in a sealed conversation, byte by byte. docs/end-to-end.md has the same as
tables.

Numbers are unsigned and big-endian. A text is its length in two bytes and its UTF-8. What is signed begins
with a label of its own, so that no signature can be taken for another's, nor for the proof that a robot
gives at its login (which begins with ``imserver.v1``).

Knows nothing of keys: see `own_device` and `roster` for who signs and who checks.
"""

import base64
import binascii
import struct
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from client_sdk.sealed.outcome import CannotOpen, Why

VERSION: Final = 1
MESSAGE_FORM: Final = 1
KEY_FORM: Final = 2
DEVICE_FORM: Final = 3

KEY_KIND: Final = "sealed.key"
DEVICE_KIND: Final = "sealed.device"
FIELD: Final = "sealed"
"""The one key of the map that is the body of every sealed event."""

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
TAG_BYTES: Final = 8
WRAPPED_BYTES: Final = 32 + 32 + 16
"""HPKE's encapsulated key, and a chain key with its tag."""
OVERHEAD_BYTES: Final = 512
"""What a sealed body takes beside the plaintext, at most."""
_NO_KEY: Final = bytes(PUBLIC_KEY_BYTES)


class Message(Struct, frozen=True):
    """A sealed message.

    Attributes:
        device, generation, index: which key it is sealed with.
        settled: of all messages of this key with a lower index, the fate was known when this one was sealed.
        epoch, seen: how far its sender knew the log: it stands behind that in the log.
        head: the bytes of the fields above.
    """

    device: str
    generation: int
    index: int
    settled: int
    epoch: str
    seen: int
    head: bytes
    ciphertext: bytes
    signature: bytes


class SenderKey(Struct, frozen=True):
    """A sender key, wrapped to devices.

    Attributes:
        identity: the Ed25519 key that signs it.
        wraps: tag of a device's key → the chain key for that device.
        signed: the bytes under the signature, without its context.
    """

    device: str
    identity: bytes
    generation: int
    wraps: dict[bytes, bytes]
    signed: bytes
    signature: bytes


class DeviceKey(Struct, frozen=True):
    """A device's announcement. ``public_key`` is None if the device is withdrawn.

    Attributes:
        serial: an announcement with a greater one takes its place.
    """

    device: str
    public_key: bytes | None
    identity: bytes
    serial: int
    signed: bytes
    signature: bytes


def body_of(content: bytes) -> dict[str, bytes]:
    """Return the body of an event that carries ``content``."""
    return {FIELD: content}


def is_sealed(body: Any) -> bool:
    """Tell whether an event's body has the form of a sealed one."""
    return isinstance(body, dict) and body.keys() == {FIELD}


def content_of(body: Any) -> bytes:
    """Return what an event's body carries, in either codec.

    Raises:
        CannotOpen: it is no sealed body.
    """
    if not is_sealed(body):
        raise CannotOpen(Why.PLAIN, "it is not sealed, and this conversation is")
    content = body[FIELD]
    if isinstance(content, str):
        try:
            content = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            raise _malformed() from None
    if not isinstance(content, bytes):
        raise _malformed()
    return content


def pack_head(message: Message) -> bytes:
    """Return the bytes of a message's fields in front of the ciphertext."""
    numbers = struct.pack(">QII", message.generation, message.index, message.settled)
    start = bytes([VERSION, MESSAGE_FORM]) + _text(message.device) + numbers
    return start + _text(message.epoch) + struct.pack(">Q", message.seen)


def pack_key(device: str, identity: bytes, generation: int, wraps: dict[bytes, bytes]) -> bytes:
    """Return a sender key's bytes up to the signature."""
    start = bytes([VERSION, KEY_FORM]) + _text(device) + identity
    numbers = struct.pack(">QI", generation, len(wraps))
    return start + numbers + b"".join(tag + wrap for tag, wrap in wraps.items())


def pack_device(device: str, public_key: bytes | None, identity: bytes, serial: int) -> bytes:
    """Return an announcement's bytes up to the signature."""
    start = bytes([VERSION, DEVICE_FORM]) + _text(device) + (public_key or _NO_KEY)
    return start + identity + struct.pack(">Q", serial)


def read_message(content: bytes) -> Message:
    """Read a sealed message.

    Raises:
        CannotOpen: ``malformed``.
    """
    reader = _Reader(content, MESSAGE_FORM)
    device = reader.text()
    generation, index, settled = reader.numbers(">QII")
    epoch = reader.text()
    (seen,) = reader.numbers(">Q")
    head = reader.behind()
    ciphertext, signature = reader.rest()
    return Message(device, generation, index, settled, epoch, seen, head, ciphertext, signature)


def read_key(content: bytes) -> SenderKey:
    """Read a sender key.

    Raises:
        CannotOpen: ``malformed``.
    """
    reader = _Reader(content, KEY_FORM)
    device, identity = reader.text(), reader.take(PUBLIC_KEY_BYTES)
    generation, count = reader.numbers(">QI")
    if count * (TAG_BYTES + WRAPPED_BYTES) > len(content):
        raise _malformed()
    wraps = {reader.take(TAG_BYTES): reader.take(WRAPPED_BYTES) for _ in range(count)}
    signed = reader.behind()
    return SenderKey(device, identity, generation, wraps, signed, reader.last())


def read_device(content: bytes) -> DeviceKey:
    """Read a device's announcement.

    Raises:
        CannotOpen: ``malformed``.
    """
    reader = _Reader(content, DEVICE_FORM)
    device = reader.text()
    public_key, identity = reader.take(PUBLIC_KEY_BYTES), reader.take(PUBLIC_KEY_BYTES)
    (serial,) = reader.numbers(">Q")
    signed = reader.behind()
    known = None if public_key == _NO_KEY else public_key
    return DeviceKey(device, known, identity, serial, signed, reader.last())


def message_context(
    conv: str, sender: str, *, cid: str, kind: str, ref: int | None, head: bytes
) -> bytes:
    """Return a message's associated data: all that a ciphertext belongs to."""
    place = _context(b"message", conv, sender, cid, kind)
    return place + struct.pack(">Q", ref or 0) + head


def key_context(conv: str, sender: str) -> bytes:
    """Return what is signed in front of a sender key."""
    return _context(b"key", conv, sender)


def device_context(conv: str, robot: str) -> bytes:
    """Return what is signed in front of an announcement."""
    return _context(b"device", conv, robot)


def wrap_info(conv: str, sender: str, key: SenderKey, recipient: bytes) -> bytes:
    """Return HPKE's ``info`` for one device: whose key it is, where, and for whom."""
    start = _context(b"wrap", conv, sender, key.device)
    return start + key.identity + struct.pack(">Q", key.generation) + recipient


class _Reader:
    """Takes a form apart from its front."""

    def __init__(self, content: bytes, form: int) -> None:
        self._content = content
        self._at = 0
        if self.take(2) != bytes([VERSION, form]):
            raise _malformed()

    def take(self, size: int) -> bytes:
        part = self._content[self._at : self._at + size]
        if len(part) != size:
            raise _malformed()
        self._at += size
        return part

    def numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def text(self) -> str:
        (size,) = self.numbers(">H")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise _malformed() from None

    def behind(self) -> bytes:
        return self._content[: self._at]

    def rest(self) -> tuple[bytes, bytes]:
        rest = self._content[self._at :]
        if len(rest) < SIGNATURE_BYTES:
            raise _malformed()
        return rest[:-SIGNATURE_BYTES], rest[-SIGNATURE_BYTES:]

    def last(self) -> bytes:
        signature = self.take(SIGNATURE_BYTES)
        if self._at != len(self._content):
            raise _malformed()
        return signature


def _context(label: bytes, *texts: str) -> bytes:
    return b"imserver/sealed/1 " + label + b"\x00" + b"".join(_texts(texts))


def _texts(texts: Iterable[str]) -> Iterable[bytes]:
    return (_text(text) for text in texts)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">H", len(raw)) + raw


def _malformed() -> CannotOpen:
    return CannotOpen(Why.MALFORMED, "it is not of the form that this SDK knows")
