"""The short cut for whole frames, against websockets' own serializer."""

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from imserver.access import whole_frames

BINARY = 0x82
NO_LIMIT = 1 << 30
payloads = st.binary(max_size=40) | st.integers(120, 300).map(bytes)


def masked(payload: bytes, *, opcode: Opcode = Opcode.BINARY, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


@given(wanted=st.lists(payloads, max_size=6))
def test_whole_frames_are_taken_with_their_payloads(wanted: list[bytes]) -> None:
    data = b"".join(map(masked, wanted))
    found, rest = whole_frames.take(data, BINARY, bytes_max=NO_LIMIT)
    assert [bytes(payload) for payload in found] == wanted
    assert rest == len(data)


@given(wanted=st.lists(payloads, max_size=3), last=payloads, kept=st.integers(0, 400))
def test_a_frame_that_is_not_complete_is_left(wanted: list[bytes], last: bytes, kept: int) -> None:
    whole = b"".join(map(masked, wanted))
    cut = masked(last)
    data = whole + cut[: min(kept, len(cut) - 1)]
    found, rest = whole_frames.take(data, BINARY, bytes_max=NO_LIMIT)
    assert [bytes(payload) for payload in found] == wanted
    assert rest == len(whole)


@given(wanted=st.lists(payloads, max_size=3), tail=payloads)
def test_the_first_frame_of_another_kind_and_all_behind_it_are_left(
    wanted: list[bytes], tail: bytes
) -> None:
    whole = b"".join(map(masked, wanted))
    for other in (
        masked(b"x", opcode=Opcode.TEXT),
        masked(b"x", fin=False),
        masked(b"x", opcode=Opcode.PING),
        Frame(Opcode.BINARY, b"not masked").serialize(mask=False),
        masked(bytes(65_536)),
    ):
        found, rest = whole_frames.take(whole + other + masked(tail), BINARY, bytes_max=NO_LIMIT)
        assert [bytes(payload) for payload in found] == wanted
        assert rest == len(whole)


@given(size=st.integers(0, 300), bytes_max=st.integers(1, 300))
def test_a_frame_over_the_limit_is_left_to_the_parser_to_judge(size: int, bytes_max: int) -> None:
    data = masked(bytes(size))
    found, rest = whole_frames.take(data, BINARY, bytes_max=bytes_max)
    assert (len(found), rest) == ((1, len(data)) if size <= bytes_max else (0, 0))


@given(data=st.binary(max_size=60))
def test_random_bytes_never_fail_and_nothing_is_taken_twice(data: bytes) -> None:
    found, rest = whole_frames.take(data, BINARY, bytes_max=NO_LIMIT)
    assert 0 <= rest <= len(data)
    assert sum(len(payload) + 6 for payload in found) <= rest
