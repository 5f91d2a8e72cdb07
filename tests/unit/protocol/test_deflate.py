"""Compressed frames: what goes in comes out, within the limit to the byte, and what is none is told."""

import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imserver.protocol.deflate import (
    BadDeflate,
    InflatedTooLarge,
    Inflater,
    deflated,
    deflated_message,
    inflated,
    longest_deflated,
)

LIMIT = 70_000
NOISE = random.Random(7).randbytes(LIMIT + 2)
KINDS = pytest.mark.parametrize("kind", [bytes(LIMIT + 2), NOISE], ids=["zeros", "noise"])
HELLO = b"Hello"


def message_of(*pieces: bytes, limit: int = LIMIT) -> bytes:
    """Return a WebSocket's message out of its compressed pieces."""
    inflater = Inflater(bytes_max=limit)
    parts = [inflater.feed(piece) for piece in pieces[:-1]]
    return b"".join([*parts, inflater.end_message(pieces[-1])])


@given(
    payload=st.binary(max_size=5_000), window_bits=st.sampled_from([9, 12, 15]), seed=st.integers()
)
def test_any_cut_of_a_message_gives_it_back(payload: bytes, window_bits: int, seed: int):
    shrunk = deflated_message(payload, window_bits)
    dice = random.Random(seed)
    cuts = sorted(dice.randrange(len(shrunk) + 1) for _ in range(dice.randrange(8)))
    pieces = [shrunk[a:b] for a, b in zip([0, *cuts], [*cuts, len(shrunk)], strict=True)]
    assert message_of(*pieces) == payload


@given(payload=st.binary(max_size=5_000))
def test_a_stream_gives_its_payload_back(payload: bytes):
    assert inflated(deflated(payload), bytes_max=5_000) == payload
    assert len(deflated(payload)) <= longest_deflated(len(payload))


@KINDS
@pytest.mark.parametrize("over", [1, 2])
def test_the_limit_is_exact(kind: bytes, over: int):
    whole, more = kind[:LIMIT], kind[: LIMIT + over]
    assert inflated(deflated(whole), bytes_max=LIMIT) == whole
    assert message_of(deflated_message(whole, 15)) == whole
    with pytest.raises(InflatedTooLarge):
        inflated(deflated(more), bytes_max=LIMIT)
    with pytest.raises(InflatedTooLarge):
        message_of(deflated_message(more, 15))


@KINDS
def test_the_limit_is_exact_over_pieces(kind: bytes):
    whole = deflated_message(kind[:LIMIT], 15)
    assert message_of(whole[:100], whole[100:], b"") == kind[:LIMIT]
    stream = zlib.compressobj(1, zlib.DEFLATED, -15)
    first = stream.compress(kind[:LIMIT]) + stream.flush(zlib.Z_SYNC_FLUSH)
    last = stream.compress(kind[LIMIT : LIMIT + 1]) + stream.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(InflatedTooLarge):
        message_of(first, last[:-4])


def test_a_bomb_costs_no_more_than_the_limit():
    bomb = zlib.compress(bytes(50_000_000), 9, -15)
    tracemalloc.start()
    try:
        with pytest.raises(InflatedTooLarge):
            inflated(bomb, bytes_max=1_000)
        with pytest.raises(InflatedTooLarge):
            message_of(bomb, limit=1_000)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "shrunk",
    [
        "f2 48 cd c9 c9 07 00",
        "00 05 00 fa ff 48 65 6c 6c 6f 00",
        "f3 48 cd c9 c9 07 00 00",
        "f3 48 cd c9 c9 07 00",
        "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",
    ],
    ids=["one block", "stored", "ended", "ended without its last byte", "two blocks"],
)
def test_the_examples_of_rfc_7692_are_read(shrunk: str):
    assert message_of(bytes.fromhex(shrunk)) == HELLO


@pytest.mark.parametrize(
    "shrunk",
    [
        bytes.fromhex("f2 00 11 00 00"),
        deflated_message(HELLO * 9, 15)[:-2],
        deflated_message(NOISE[:500], 15)[:-2],
        b"\xff\xff\xff\xff",
        b"\x07",
        deflated(HELLO) + b"\x01",
        deflated(HELLO) + deflated(HELLO),
    ],
    ids=[
        "of the message before",
        "cut off",
        "cut off, stored",
        "noise",
        "a block of a kind that is none",
        "a byte behind the end",
        "another stream behind the end",
    ],
)
def test_what_is_no_compressed_message_is_told(shrunk: bytes):
    with pytest.raises(BadDeflate):
        message_of(shrunk)


def test_nothing_is_kept_of_what_follows_the_end():
    inflater = Inflater(bytes_max=LIMIT)
    inflater.feed(deflated(HELLO))
    inflater.feed(b"x" * 7)
    with pytest.raises(BadDeflate):
        inflater.feed(b"x")
