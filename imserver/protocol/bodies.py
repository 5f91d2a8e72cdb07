"""Bodies: any JSON or MessagePack value, checked once where it comes in, kept as MessagePack.

One canonical form means that a conversation may mix readers and writers of both codecs, and that what was
stored can always be shown to either. Bytes become base64 for readers of JSON.

Refused: more than ``BODY_DEPTH_MAX`` levels, invalid UTF-8, integers over 64 bits, map keys that are neither
text nor integers, a number and its text as keys of one map (in JSON they are the same), MessagePack extension
types (JSON has no place for them), numbers that are not finite.
"""

import math
from typing import Any

import msgspec
from msgspec import Raw

from imserver.protocol.limits import BODY_DEPTH_MAX
from imserver.protocol.names import clip

_decode_msgpack = msgspec.msgpack.Decoder().decode
_decode_json = msgspec.json.Decoder().decode
_encode_msgpack = msgspec.msgpack.Encoder().encode
_encode_in_order = msgspec.msgpack.Encoder(order="deterministic").encode
_encode_json = msgspec.json.Encoder().encode
_SCALARS = frozenset({str, bytes, bool, int, type(None)})
_FLOATS = frozenset({float})
_NOT_FINITE = "numbers in a body must be finite, not NaN or Infinity"


class InvalidBody(ValueError):
    """A body cannot be stored; the text says why and what would be right."""


def from_msgpack(body: Raw) -> bytes:
    """Check a MessagePack body and return it as it is stored.

    That is what was checked, encoded anew: of a key that came twice only the last value was seen, so only
    that one may be stored.

    Raises:
        InvalidBody: see the module's docstring.
    """
    raw = bytes(body)
    value = _decoded(_decode_msgpack, raw)
    if type(value) in _SCALARS:
        return raw
    _check(value, BODY_DEPTH_MAX)
    return _encode_msgpack(value)


def from_json(body: Raw) -> bytes:
    """Check a JSON body and return it as MessagePack.

    Raises:
        InvalidBody: see the module's docstring.
    """
    value = _decoded(_decode_json, bytes(body))
    if type(value) not in _SCALARS:
        _check(value, BODY_DEPTH_MAX)
    try:
        return _encode_msgpack(value)
    except OverflowError as exc:
        raise InvalidBody("an integer in the body does not fit in 64 bits") from exc


def to_json(body: Raw) -> Raw:
    """Return a stored (MessagePack) body as JSON."""
    return Raw(_encode_json(_decode_msgpack(body)))


def is_same(one: bytes | Raw, other: bytes | Raw) -> bool:
    """Tell whether two stored bodies have the same value, whatever the order of their keys."""
    return bytes(one) == bytes(other) or _in_order(one) == _in_order(other)


def _in_order(body: bytes | Raw) -> bytes:
    try:
        return _encode_in_order(_decode_msgpack(body))
    except (msgspec.MsgspecError, ValueError, TypeError):
        return bytes(body)  # it was never checked, so only its own bytes are the same as it


def _decoded(decode: Any, raw: bytes) -> Any:
    try:
        return decode(raw)
    except RecursionError as exc:
        raise InvalidBody(_too_deep()) from exc
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, TypeError) as exc:
        raise InvalidBody(f"the body is not well-formed: {clip(str(exc), 200)}") from exc


def _check(value: Any, depth_left: int) -> None:
    kind = type(value)
    if kind is dict:
        if depth_left == 0:
            raise InvalidBody(_too_deep())
        for key, item in value.items():
            if type(key) is not str:
                _check_number(key, value)
            if type(item) not in _SCALARS:
                _check(item, depth_left - 1)
    elif kind is list:
        if depth_left == 0:
            raise InvalidBody(_too_deep())
        _check_list(value, depth_left - 1)
    elif kind is float:
        if not math.isfinite(value):
            raise InvalidBody(_NOT_FINITE)
    else:
        raise InvalidBody("MessagePack extension types are not allowed in a body")


def _check_list(items: list[Any], depth_left: int) -> None:
    if set(map(type, items)) == _FLOATS:  # what a sensor measures, often hundreds at a time
        if not all(map(math.isfinite, items)):
            raise InvalidBody(_NOT_FINITE)
        return
    for item in items:
        if type(item) not in _SCALARS:
            _check(item, depth_left)


def _check_number(key: Any, value: dict[Any, Any]) -> None:
    if type(key) is not int:
        raise InvalidBody("the keys of maps in a body must be text or integers")
    if str(key) in value:
        raise InvalidBody(f"a map has {key} for a key as a number and as text, the same in JSON")


def _too_deep() -> str:
    return f"the body is nested more than {BODY_DEPTH_MAX} levels deep"
