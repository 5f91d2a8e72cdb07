"""From frames to messages: fragments, text and goodbyes, without a link around them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from imserver.access.messages import EMPTY_FRAGMENTS_MAX, Messages
from tests.unit.access.raw_client import frame

TEXTS = st.text(max_size=12).map(str.encode)


def opened(bytes_max: int = 100_000) -> Messages:
    return Messages(bytes_max=bytes_max)


def close_code(messages: Messages) -> int | None:
    return None if messages.close_sent is None else messages.close_sent.code


def in_fragments(payload: bytes, cuts: list[int], opcode: Opcode = Opcode.TEXT) -> list[bytes]:
    ends = [*sorted(cut for cut in cuts if cut <= len(payload)), len(payload)]
    starts = [0, *ends[:-1]]
    kinds = [opcode] + [Opcode.CONT] * len(ends)
    return [
        frame(kind, payload[start:end], fin=number == len(ends) - 1)
        for number, (kind, start, end) in enumerate(zip(kinds, starts, ends, strict=False))
    ]


@given(payload=TEXTS, cuts=st.lists(st.integers(0, 48), max_size=5))
def test_fragments_are_joined_wherever_they_are_cut(payload: bytes, cuts: list[int]) -> None:
    messages = opened()
    messages.receive_data(b"".join(in_fragments(payload, cuts)))
    (event,) = messages.events_received()
    assert isinstance(event, Frame)
    assert (event.opcode, event.data, event.fin) == (Opcode.TEXT, payload, True)
    assert messages.is_between


def test_fragments_as_small_as_can_be_are_a_message() -> None:
    messages, payload = opened(), bytes(range(256)) * 200
    fragments = in_fragments(payload, list(range(1, len(payload))), Opcode.BINARY)
    messages.receive_data(b"".join(fragments))
    (event,) = messages.events_received()
    assert isinstance(event, Frame) and event.data == payload


def test_empty_fragments_are_taken_up_to_their_limit() -> None:
    messages = opened()
    messages.receive_data(frame(Opcode.TEXT, b"x", fin=False))
    messages.receive_data(frame(Opcode.CONT, fin=False) * EMPTY_FRAGMENTS_MAX)
    messages.receive_data(frame(Opcode.CONT))
    (event,) = messages.events_received()
    assert isinstance(event, Frame) and event.data == b"x"


def test_one_empty_fragment_too_many_ends_the_connection() -> None:
    messages = opened()
    messages.receive_data(frame(Opcode.TEXT, b"x", fin=False))
    messages.receive_data(frame(Opcode.CONT, fin=False) * (EMPTY_FRAGMENTS_MAX + 1))
    messages.receive_data(frame(Opcode.CONT))
    assert close_code(messages) == 1008 and messages.events_received() == []


@pytest.mark.parametrize(
    "payload",
    [b"\xff", b"a\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xce"],
    ids=["never a letter", "overlong", "surrogate", "beyond Unicode", "cut letter"],
)
@pytest.mark.parametrize("is_cut", [False, True])
def test_text_that_is_not_utf8_is_no_message(payload: bytes, is_cut: bool) -> None:
    messages = opened()
    messages.receive_data(b"".join(in_fragments(payload, [1] if is_cut else [])))
    assert close_code(messages) == 1007 and messages.events_received() == []


def test_text_that_can_become_utf8_no_more_is_refused_before_its_end() -> None:
    messages = opened()
    messages.receive_data(frame(Opcode.TEXT, b"caf\xf4", fin=False))
    assert close_code(messages) is None
    messages.receive_data(frame(Opcode.CONT, b"\x90", fin=False))
    assert close_code(messages) == 1007


def test_binary_messages_need_not_be_utf8() -> None:
    messages = opened()
    messages.receive_data(b"".join(in_fragments(b"\xff\xfe", [1], Opcode.BINARY)))
    (event,) = messages.events_received()
    assert isinstance(event, Frame) and event.data == b"\xff\xfe"


def test_a_goodbye_within_a_message_is_a_goodbye() -> None:
    messages = opened()
    messages.receive_data(frame(Opcode.TEXT, b"half", fin=False) + frame(Opcode.CLOSE, b"\x03\xe8"))
    messages.receive_data(frame(Opcode.CONT, b"the rest"))
    (event,) = messages.events_received()
    assert isinstance(event, Frame) and event.opcode is Opcode.CLOSE
    assert close_code(messages) == 1000


def test_messages_over_the_limit_are_refused_and_not_cut_off() -> None:
    for cuts in ([], [3], [10]):
        messages = opened(bytes_max=10)
        messages.receive_data(b"".join(in_fragments(b"x" * 11, cuts)))
        assert close_code(messages) == 1009 and messages.events_received() == []
        messages = opened(bytes_max=10)
        messages.receive_data(b"".join(in_fragments(b"x" * 10, cuts)))
        assert len(messages.events_received()) == 1
