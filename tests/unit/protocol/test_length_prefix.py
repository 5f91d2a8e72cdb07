"""Frames behind their lengths: any cut of the stream gives the same ones; nothing over the limit is kept."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imserver.protocol.codec import JSON, MSGPACK
from imserver.protocol.deflate import deflated
from imserver.protocol.errors import ErrorCode
from imserver.protocol.length_prefix import (
    GOODBYE,
    Splitter,
    framed,
    framed_deflated,
    preface_of,
)

LIMIT = 300


def fed(splitter: Splitter, *pieces: bytes) -> list[bytes]:
    return [frame for piece in pieces for frame in splitter.feed(piece)]


def test_a_codec_has_its_prefaces():
    assert (preface_of(MSGPACK), preface_of(JSON)) == (b"IM1M", b"IM1J")
    assert preface_of(MSGPACK, deflates=True) == b"IM1m"
    assert preface_of(JSON, deflates=True) == b"IM1j"


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
    assert splitter.is_between and splitter.unreadable is None


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
    assert fed(splitter, head[3:]) == []
    assert splitter.unreadable is not None and splitter.unreadable.code is ErrorCode.TOO_LARGE
    assert str(length) in splitter.unreadable.message and not splitter.is_between


def test_nothing_is_taken_after_a_length_over_the_limit():
    splitter = Splitter(bytes_max=LIMIT)
    assert fed(splitter, framed(b"one") + b"\xff" * 4 + framed(b"two"), framed(b"three")) == [
        b"one"
    ]
    assert splitter.unreadable is not None


@pytest.mark.parametrize("rest", [b"\x00", framed(b"one")[:-1]])
def test_a_stream_that_stops_within_a_frame_is_not_between_two(rest: bytes):
    splitter = Splitter(bytes_max=LIMIT)
    splitter.feed(framed(b"zero") + rest)
    assert not splitter.is_between


# Compressed frames.


def compressed(payload: bytes) -> bytes:
    """Return a compressed frame, whether it pays or not."""
    shrunk = deflated(payload)
    return (0x8000_0000 | len(shrunk)).to_bytes(4) + shrunk


@given(
    payloads=st.lists(st.tuples(st.binary(min_size=1, max_size=LIMIT), st.booleans()), max_size=20),
    seed=st.integers(0, 2**32),
)
def test_any_cut_of_a_stream_with_compressed_frames_gives_the_same_frames(
    payloads: list[tuple[bytes, bool]], seed: int
):
    stream = b"".join(
        compressed(payload) if shrinks else framed(payload) for payload, shrinks in payloads
    )
    dice = random.Random(seed)
    cuts = sorted(dice.randrange(len(stream) + 1) for _ in range(dice.randrange(30)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    splitter = Splitter(bytes_max=LIMIT, deflates=True)
    assert fed(splitter, *pieces) == [payload for payload, _ in payloads]
    assert splitter.is_between


def test_small_frames_and_those_that_would_not_shrink_are_left_as_they_are():
    noise = random.Random(1).randbytes(LIMIT)
    assert framed_deflated(b"a" * 99, bytes_min=100) == framed(b"a" * 99)
    assert framed_deflated(noise, bytes_min=100) == framed(noise)
    assert framed_deflated(b"a" * 100, bytes_min=100) == compressed(b"a" * 100)


def refused(stream: bytes, *, limit: int = LIMIT) -> ErrorCode:
    splitter = Splitter(bytes_max=limit, deflates=True)
    assert splitter.feed(stream) == []
    assert splitter.unreadable is not None
    return splitter.unreadable.code


@pytest.mark.parametrize("payload", [bytes(LIMIT), random.Random(2).randbytes(LIMIT)])
def test_the_limit_is_on_what_comes_out(payload: bytes):
    assert Splitter(bytes_max=LIMIT, deflates=True).feed(compressed(payload)) == [payload]
    assert refused(compressed(payload + b"x")) is ErrorCode.TOO_LARGE
    assert refused(compressed(payload + b"xy")) is ErrorCode.TOO_LARGE


def test_a_compressed_length_far_over_the_limit_is_refused_at_once():
    assert refused((0x8000_0000 | 2 * LIMIT + 2_000).to_bytes(4)) is ErrorCode.TOO_LARGE
    assert refused(b"\xff\xff\xff\xff") is ErrorCode.TOO_LARGE


@pytest.mark.parametrize(
    "shrunk",
    [b"", b"\xff\xff\xff", deflated(b"cut off")[:-1], deflated(b"one") + b"more", deflated(b"")],
    ids=["nothing", "noise", "cut off", "more behind it", "nothing in it"],
)
def test_what_is_no_compressed_frame_is_told(shrunk: bytes):
    assert refused((0x8000_0000 | len(shrunk)).to_bytes(4) + shrunk) is ErrorCode.BAD_FRAME


def test_without_deflate_the_first_bit_is_part_of_the_length():
    splitter = Splitter(bytes_max=LIMIT)
    splitter.feed(compressed(b"x"))
    assert splitter.unreadable is not None
    assert splitter.unreadable.code is ErrorCode.TOO_LARGE


def test_frames_are_taken_one_at_a_time():
    splitter = Splitter(bytes_max=2**20, deflates=True)
    splitter.put(compressed(bytes(2**20)) * 3)
    assert [len(splitter.next() or b"") for _ in range(4)] == [2**20, 2**20, 2**20, 0]


def test_who_is_idle_holds_nothing():
    splitter = Splitter(bytes_max=LIMIT)
    splitter.feed(framed(b"one") * 50)
    assert len(splitter._rest) == 0
