"""Bytes changed a little: what was nearly right is where readers stumble."""

import random
from collections.abc import Callable
from typing import Final

GROWN_MAX: Final = 4_096
"""No mutation grows a piece beyond so many bytes."""

TOKENS: Final = (
    # MessagePack
    b"\x00", b"\xff", b"\x7f", b"\x80", b"\xc0", b"\xc1", b"\xc4\xff", b"\xc7\x01\x05x",
    b"\xc9\x7f\xff\xff\xff", b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + b"\x00" * 7, b"\xd4\x05\x00", b"\xd6\xff\x00\x00\x00\x00", b"\xdb\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x91" * 70, b"\x81\xa1a" * 70,
    b"\xa1t", b"\xa2id", b"\xa4conv", b"\xa4body", b"\xa3seq",
    # JSON
    b'"', b"\\", b",", b":", b"}", b"]", b"{", b"[", b"null", b"true", b"NaN", b"-Infinity", b"1e400", b"1.0",
    b"-0", b"\\ud800", b"\\u0000", b"9" * 400, b"[" * 70, b'{"a":' * 70, b'"t":', b'"id":', b'"body":',
    b"/**/",
    # text
    b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf",
    # WebSocket
    b"\x81\x80", b"\x82\xfe\x00\x7e", b"\x82\xff", b"\x88\x80", b"\x88\x82", b"\x89\x80", b"\x80\x80",
    b"\x03\xe8",
)  # fmt: skip
"""What means something to some reader."""


def mutated(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """Return ``data`` with one to four changes; ``other`` may lend a part."""
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        data = dice.choice(_MUTATIONS)(data, other, dice)
    return data[:GROWN_MAX] if len(data) > GROWN_MAX else data


def _flip(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    if not data:
        return data
    at = dice.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << dice.randrange(8),)) + data[at + 1 :]


def _put_byte(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + bytes((dice.randrange(256),)) + data[at + 1 :]


def _step(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    if not data:
        return data
    at = dice.randrange(len(data))
    return data[:at] + bytes((data[at] + dice.choice((1, -1, 2, -2)) & 0xFF,)) + data[at + 1 :]


def _drop(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + data[at + 1 + dice.randrange(8) :]


def _cut(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def _insert_token(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.choice(TOKENS) + data[at:]


def _overwrite_token(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    at, token = dice.randrange(len(data) + 1), dice.choice(TOKENS)
    return data[:at] + token + data[at + len(token) :]


def _repeat(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data) + 1)
    end = start + dice.randrange(24)
    return data[:end] + data[start:end] * dice.choice((1, 2, 30)) + data[end:]


def _splice(data: bytes, other: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data) + 1)] + other[dice.randrange(len(other) + 1) :]


def _graft(data: bytes, other: bytes, dice: random.Random) -> bytes:
    at, start = dice.randrange(len(data) + 1), dice.randrange(len(other) + 1)
    return data[:at] + other[start : start + dice.randrange(24)] + data[at:]


def _append(data: bytes, other: bytes, _dice: random.Random) -> bytes:
    return data + other


_MUTATIONS: Final[tuple[Callable[[bytes, bytes, random.Random], bytes], ...]] = (
    _flip,
    _flip,
    _put_byte,
    _step,
    _drop,
    _cut,
    _insert_token,
    _overwrite_token,
    _repeat,
    _splice,
    _graft,
    _append,
)
