"""The hash by which a history names a body: the same for every client, language and codec.

It is the SHA-256, in hexadecimal, of the body's *canonical MessagePack*: what a reader of JSON would see,
written in one way only.

1. Bytes become base64 text (RFC 4648, padded), and keys of maps become text.
2. Maps are in the order of their keys' UTF-8 bytes.
3. Numbers that are whole and within ±2^53 are integers, all others are 64-bit floats (a language that has
   one kind of number cannot tell 1.0 from 1).
4. Everything is in its shortest form, as the MessagePack specification advises.
"""

import hashlib
from typing import Any, Final

import msgspec
from msgspec import Raw

_WHOLE_MAX: Final = 2**53
_encode: Final = msgspec.msgpack.Encoder(order="sorted").encode
_decode: Final = msgspec.msgpack.Decoder().decode


def body_sha(value: Any) -> str:
    """Return the hash of a body that is held as a value, as the SDK takes and gives it.

    Raises:
        TypeError: the value has no place in a body.
    """
    canonical = _encode(_whole(msgspec.to_builtins(value, str_keys=True)))
    return hashlib.sha256(canonical).hexdigest()


def stored_body_sha(body: bytes | Raw) -> str:
    """Return the hash of a body in MessagePack, as the server stores it and sends it to its readers.

    Raises:
        msgspec.DecodeError: it is not MessagePack.
    """
    return body_sha(_decode(body))


def _whole(value: Any) -> Any:
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() and abs(value) <= _WHOLE_MAX else value
    if kind is dict:
        return {key: _whole(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_whole(item) for item in value]
    return value
