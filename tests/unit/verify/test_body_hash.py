"""The hash of a body: one for every codec and language."""

import base64
import hashlib
import json

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imserver.verify.body_hash import body_sha, stored_body_sha

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
bodies = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


def canonical(value):
    """Return the canonical MessagePack by the words of the documentation, with another library."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        plain = {str(key): canonical(item) for key, item in value.items()}
        return dict(sorted(plain.items(), key=lambda item: item[0].encode()))
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    return value


@given(body=bodies)
def test_the_hash_is_what_the_documentation_says(body):
    written = msgpack.packb(canonical(body), use_bin_type=True)
    assert body_sha(body) == hashlib.sha256(written).hexdigest()


@given(body=bodies)
def test_a_body_in_messagepack_has_the_hash_of_its_value(body):
    assert stored_body_sha(msgpack.packb(body)) == body_sha(body)


@given(body=bodies)
def test_a_reader_of_json_comes_to_the_same_hash(body):
    seen = json.loads(msgspec.json.encode(body))
    assert body_sha(seen) == body_sha(body)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0, -0.0),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
        (b"\x00\xff", "AP8="),
        ({1: "x"}, {"1": "x"}),
        ((1, 2), [1, 2]),
    ],
)
def test_what_readers_cannot_tell_apart_is_alike(one, other):
    assert body_sha(one) == body_sha(other)


@pytest.mark.parametrize(
    ("one", "other"), [(1, "1"), (None, 0), (False, 0), ([1], 1), ({"a": 1}, {"a": 2}), (0.5, 0)]
)
def test_what_readers_can_tell_apart_differs(one, other):
    assert body_sha(one) != body_sha(other)


def test_a_wasteful_encoding_has_the_hash_of_the_short_one():
    wide = b"\xcf\x00\x00\x00\x00\x00\x00\x00\x07"  # 7 as a 64-bit integer
    assert stored_body_sha(wide) == body_sha(7)
