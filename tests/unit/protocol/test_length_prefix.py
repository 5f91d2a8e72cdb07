"""Frames behind their lengths: any cut of the stream gives the same ones; nothing over the limit is kept."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imserver.protocol.codec import JSON, MSGPACK
from imserver.protocol.length_prefix import GOODBYE, Splitter, framed, preface_of

LIMIT = 300


def fed(splitter: Splitter, *pieces: bytes) -> list[bytes]:
    return [frame for piece in pieces for frame in splitter.feed(piece)]


def test_a_codec_has_its_preface():
    assert (preface_of(MSGPACK), preface_of(JSON)) == (b"IM1M", b"IM1J")


@given(
    payloads=st.lists(st.binary(max_size=LIMIT), max_size=20),
    seed=st.integers(0, 2**32),
)
def test_any_cut_of_the_stream_gives_the_same_frames(payloads: list[bytes], seed: int):
    stream = b"".join(framed(payload) for payload in payloads)
    dice = random.Random(seed)
    cuts = sorted(dice.randrange(len(stream) + 1) for _ in range(dice.randrange(30)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    splitter = Splitter(bytes_max=LIMIT)
    assert fed(splitter, *pieces) == payloads
    assert splitter.is_between and splitter.over is None


def test_a_frame_comes_one_byte_at_a_time():
    splitter = Splitter(bytes_max=LIMIT)
    stream = framed(b"one") + framed(b"two")
    assert fed(splitter, *(bytes([byte]) for byte in stream)) == [b"one", b"two"]


def test_a_goodbye_is_a_frame_of_nothing():
    assert fed(Splitter(bytes_max=LIMIT), framed(b"one") + GOODBYE) == [b"one", b""]


def test_a_frame_of_the_limit_is_taken():
    assert fed(Splitter(bytes_max=LIMIT), framed(bytes(LIMIT))) == [bytes(LIMIT)]


@pytest.mark.parametrize("length", [LIMIT + 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_length_over_the_limit_is_noted_as_soon_as_it_is_there(length: int):
    splitter = Splitter(bytes_max=LIMIT)
    head = length.to_bytes(4)
    assert fed(splitter, framed(b"one") + head[:3]) == [b"one"]
    before = splitter.over
    assert fed(splitter, head[3:]) == []
    assert (before, splitter.over, splitter.is_between) == (None, length, False)


def test_nothing_is_taken_after_a_length_over_the_limit():
    splitter = Splitter(bytes_max=LIMIT)
    assert fed(splitter, framed(b"one") + b"\xff" * 4 + framed(b"two"), framed(b"three")) == [
        b"one"
    ]
    assert splitter.over == 2**32 - 1


@pytest.mark.parametrize("rest", [b"\x00", framed(b"one")[:-1]])
def test_a_stream_that_stops_within_a_frame_is_not_between_two(rest: bytes):
    splitter = Splitter(bytes_max=LIMIT)
    splitter.feed(framed(b"zero") + rest)
    assert not splitter.is_between
