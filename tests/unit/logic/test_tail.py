"""The hot tails against a plain list, and their common bound."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from imserver.access.websocket import FORMS
from imserver.logic.tail import Tail, TailFrame, Tails, bytes_of
from imserver.protocol.codec import MSGPACK
from imserver.protocol.events import Event
from imserver.protocol.server_frames import Deliver
from imserver.protocol.shared_frame import SharedFrame


def event(seq: int) -> Event:
    return Event(seq, 0, "r1", f"c{seq}", "message", Raw(b"\xc0"))


def frame(first: int, count: int, *, bytes_held: int = 10) -> TailFrame:
    events = [event(seq) for seq in range(first, first + count)]
    shared = SharedFrame(Deliver("g/a", "e", events))
    return TailFrame(first, first + count - 1, shared, bytes_held)


def filled(sizes: list[int], *, dropped: int = 0) -> tuple[Tail, int, int]:
    """Return a tail of frames with these many events, its first seq and its last."""
    tail, first = Tail(), 1
    for size in sizes:
        tail.add(frame(first, size))
        first += size
    for _ in range(dropped):
        tail.drop_oldest()
    return tail, 1 + sum(sizes[:dropped]), first - 1


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    dropped=st.integers(0, 12),
    seq=st.integers(0, 50),
    count_max=st.integers(1, 5),
)
def test_a_tail_gives_the_next_events_or_says_that_it_reaches_not_so_far(
    sizes: list[int], dropped: int, seq: int, count_max: int
) -> None:
    tail, first, last = filled(sizes, dropped=min(dropped, len(sizes)))
    found = tail.after(seq, count_max)
    if first <= seq + 1 <= last:
        assert found is not None
        whole = found.shared.frame
        assert isinstance(whole, Deliver)
        seqs = [event.seq for event in whole.events]
        assert seqs == list(range(seq + 1, found.last + 1))
        assert 1 <= len(seqs) <= count_max
        assert (found.first, found.last) == (seqs[0], seqs[-1])
    else:
        assert found is None


def test_a_whole_frame_is_given_as_it_was_shared() -> None:
    tail = Tail()
    shared = frame(1, 3)
    tail.add(shared)
    assert tail.after(0, 3) is shared


def test_an_empty_tail_reaches_nowhere() -> None:
    assert Tail().after(0, 10) is None


def test_finding_a_place_far_back_in_a_long_tail_looks_at_few_frames() -> None:
    tail, _, _ = filled([1] * 20_000)
    began = time.process_time()
    for seq in range(3_000):
        assert tail.after(seq, 1) is not None
    assert time.process_time() - began < 1.0, "some 20 steps each; 20,000 would take much longer"


@given(
    adds=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), max_size=40),
    bytes_max=st.integers(0, 100),
)
def test_all_tails_together_keep_the_newest_frames_that_fit(
    adds: list[tuple[int, int]], bytes_max: int
) -> None:
    tails, three = Tails(bytes_max), [Tail(), Tail(), Tail()]
    lasts = [0, 0, 0]
    model: list[tuple[int, int]] = []
    for which, bytes_held in adds:
        tails.add(three[which], frame(lasts[which] + 1, 1, bytes_held=bytes_held))
        lasts[which] += 1
        model.append((which, bytes_held))
        while sum(held for _, held in model) > bytes_max:
            model.pop(0)
        kept = [sum(1 for each, _ in model if each == n) for n in range(3)]
        assert [len(tail) for tail in three] == kept
        for n, tail in enumerate(three):
            reach = [seq for seq in range(lasts[n]) if tail.after(seq, 1) is not None]
            assert len(reach) == kept[n]


@pytest.mark.parametrize("size", [0, 1_000])
def test_the_estimate_of_memory_grows_with_the_bodies(size: int) -> None:
    one = [Event(1, 0, "r1", "c", "message", Raw(bytes(size)))]
    single, twice = (SharedFrame(Deliver("g/a", "e", events)) for events in (one, one * 2))
    assert bytes_of(twice, one * 2) == 2 * bytes_of(single, one) >= 4 * size


def test_an_encoding_tells_how_long_the_bodies_are() -> None:
    one = [Event(1, 0, "r1", "c", "message", Raw(b"\xc0" * 1_000))]
    shared = SharedFrame(Deliver("g/a", "e", one))
    before = bytes_of(shared, one)
    shared.encoded(FORMS[MSGPACK.name])
    assert before < bytes_of(shared, one) < before + 500
