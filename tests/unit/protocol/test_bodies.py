"""What may be a body: every rule, at its edge, in both codecs."""

import base64
import json
import math
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from imserver.protocol import bodies
from imserver.protocol.bodies import InvalidBody
from imserver.protocol.limits import BODY_DEPTH_MAX
from tests.unit.protocol.frame_strategies import values


def packed(value: Any) -> Raw:
    return Raw(msgpack.packb(value, use_bin_type=True))


def text(value: Any) -> Raw:
    return Raw(value if isinstance(value, bytes) else json.dumps(value).encode())


def nested(depth: int, *, maps: bool = False) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"k": value} if maps else [value]
    return value


@given(value=values)
def test_a_messagepack_body_is_kept_as_it_came(value: Any) -> None:
    assert bodies.from_msgpack(packed(value)) == bytes(packed(value))


@given(value=values)
def test_a_json_body_becomes_the_same_value_in_messagepack(value: Any) -> None:
    kept = bodies.from_json(text(value))
    assert msgpack.unpackb(kept, strict_map_key=False) == value


@given(value=values)
def test_a_stored_body_is_shown_to_readers_of_json_as_the_same_value(value: Any) -> None:
    assert json.loads(bytes(bodies.to_json(packed(value)))) == value


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_finite_numbers_survive_both_ways(value: float) -> None:
    kept = bodies.from_json(text(value))
    assert msgpack.unpackb(kept) == value
    assert json.loads(bytes(bodies.to_json(Raw(kept)))) == value


def test_an_unusual_spelling_of_messagepack_is_kept() -> None:
    long_form = Raw(b"\xd9\x01a")  # str 8 for one character
    assert bodies.from_msgpack(long_form) == b"\xd9\x01a"


@pytest.mark.parametrize("maps", [False, True], ids=["lists", "maps"])
def test_nesting_up_to_the_limit_is_taken(maps: bool) -> None:
    value = nested(BODY_DEPTH_MAX, maps=maps)
    assert bodies.from_msgpack(packed(value))
    assert bodies.from_json(text(value))


@pytest.mark.parametrize("maps", [False, True], ids=["lists", "maps"])
@pytest.mark.parametrize("depth", [BODY_DEPTH_MAX + 1, 400])
def test_nesting_over_the_limit_is_refused_with_the_limit(depth: int, maps: bool) -> None:
    value = nested(depth, maps=maps)
    with pytest.raises(InvalidBody, match=f"{BODY_DEPTH_MAX} levels"):
        bodies.from_msgpack(packed(value))
    with pytest.raises(InvalidBody, match=f"{BODY_DEPTH_MAX} levels"):
        bodies.from_json(text(value))


def test_absurd_nesting_is_refused_too() -> None:
    with pytest.raises(InvalidBody, match="levels"):
        bodies.from_msgpack(Raw(b"\x91" * 100_000 + b"\xc0"))
    with pytest.raises(InvalidBody, match="levels"):
        bodies.from_json(Raw(b"[" * 100_000 + b"]" * 100_000))


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",  # never used
        b"\xa2\xff\xfe",  # text that is not UTF-8
        b"\x81\xa1k\xa1\xff",
        b"\x92\x01",  # a list with an item missing
        b"\x01\x02",  # two values
        b"",
        b"\x81\x90\x01",  # a list as a key
        b"\x81\x80\x01",  # a map as a key
    ],
    ids=["reserved", "utf-8", "utf-8 inside", "short", "two", "none", "list key", "map key"],
)  # fmt: skip
def test_malformed_messagepack_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        bodies.from_msgpack(Raw(body))


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"nul", b'"\xff"', b'{"a":"\xc3\x28"}', b"[1,]", b"1 2", b"", b"NaN", b"-Infinity",
        b"'a'", b"[1e999]", b"1e999", b"-1e999", b'{"a":1e400}', b"01", b'"\x01"',
        b'"\\ud800"', b'"a\\udc00b"', b'{"\\ud800":1}',
    ],
)  # fmt: skip
def test_malformed_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        bodies.from_json(Raw(body))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "around",
    [
        lambda value: value,
        lambda value: {"a": value},
        lambda value: [0.5, value],
        lambda value: {"a": [1, "b", value]},
    ],
    ids=["alone", "in a map", "among numbers", "among others"],
)
def test_numbers_that_are_not_finite_are_refused(
    value: float, around: Callable[[float], Any]
) -> None:
    body = around(value)
    for raw in (packed(body), Raw(msgpack.packb(body, use_single_float=True))):
        with pytest.raises(InvalidBody, match="finite"):
            bodies.from_msgpack(raw)


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**63])
def test_integers_of_64_bits_are_taken(number: int) -> None:
    assert msgpack.unpackb(bodies.from_msgpack(packed(number))) == number
    assert msgpack.unpackb(bodies.from_json(text(number))) == number


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40])
@pytest.mark.parametrize("inside", [False, True])
def test_integers_over_64_bits_are_refused(number: int, inside: bool) -> None:
    with pytest.raises(InvalidBody, match="64 bits"):
        bodies.from_json(text({"n": [number]} if inside else number))


@pytest.mark.parametrize(
    "extension",
    [msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 0)],
    ids=["any", "timestamp"],
)
@pytest.mark.parametrize("shape", [lambda x: x, lambda x: [x], lambda x: {"k": x}])
def test_extension_types_are_refused(extension: Any, shape: Any) -> None:
    with pytest.raises(InvalidBody, match="extension"):
        bodies.from_msgpack(packed(shape(extension)))


@pytest.mark.parametrize("key", [None, True, 1.5, b"k", msgpack.Timestamp(1, 0)])
def test_keys_that_are_neither_text_nor_integers_are_refused(key: Any) -> None:
    with pytest.raises(InvalidBody, match="keys"):
        bodies.from_msgpack(packed({key: 1}))


def test_integer_keys_are_taken_and_become_text_for_readers_of_json() -> None:
    body = packed({7: "a", -1: "b"})
    assert bodies.from_msgpack(body) == bytes(body)
    assert json.loads(bytes(bodies.to_json(body))) == {"7": "a", "-1": "b"}


@pytest.mark.parametrize("key", [0, 7, -1, 2**64 - 1])
def test_a_number_and_its_text_are_no_keys_of_one_map(key: int) -> None:
    with pytest.raises(InvalidBody, match="same in JSON"):
        bodies.from_msgpack(packed([{key: "a", str(key): "b"}]))
    assert bodies.from_msgpack(packed([{key: "a"}, {str(key): "b"}]))


@given(value=st.binary(max_size=40))
def test_bytes_become_base64_for_readers_of_json(value: bytes) -> None:
    raw = Raw(bodies.from_msgpack(packed(value)))
    assert json.loads(bytes(bodies.to_json(raw))) == base64.b64encode(value).decode()


def test_a_key_that_comes_twice_is_stored_once_and_hides_nothing() -> None:
    deep = b"\x91" * 500 + b"\xc0"
    raw = b"\x82\xa1a" + deep + b"\xa1a\x01"
    assert bodies.from_msgpack(Raw(raw)) == msgpack.packb({"a": 1})


def test_the_order_of_keys_makes_no_other_body() -> None:
    one, other = msgpack.packb({"a": 1, "b": [2]}), msgpack.packb({"b": [2], "a": 1})
    assert bodies.is_same(one, other)
    assert not bodies.is_same(one, msgpack.packb({"a": 1, "b": [3]}))
