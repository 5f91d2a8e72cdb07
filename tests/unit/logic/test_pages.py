"""Pages that several readers share: which are kept, for which log, and their bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from imserver.logic.conversations import Conversation
from imserver.logic.pages import WORTH_BYTES, Pages, size_of
from imserver.logic.tail import TailFrame
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName
from imserver.protocol.packed_events import PackedEvents, pack
from imserver.protocol.server_frames import Deliver, PackedDeliver
from imserver.protocol.shared_frame import SharedFrame

HEAD = 1_000


def events(first: int, last: int) -> list[Event]:
    return [
        Event(seq, 0, "r1", f"c{seq}", "message", Raw(b"\xc0")) for seq in range(first, last + 1)
    ]


def page_of(
    first: int, last: int, *, conv: str = "g/a", epoch: str = "e"
) -> tuple[SharedFrame, PackedEvents]:
    page = pack(events(first, last))
    assert page is not None
    return SharedFrame(PackedDeliver(conv, epoch, page.packed)), page


def keep(
    pages: Pages, first: int, last: int, *, conv: str = "g/a", epoch: str = "e", head: int = HEAD
) -> None:
    shared, page = page_of(first, last, conv=conv, epoch=epoch)
    pages.add(shared, page, head=head)


def after(
    pages: Pages, seq: int, *, conv: str = "g/a", epoch: str = "e", count_max: int = 512
) -> TailFrame | None:
    place = Conversation(ConversationName(conv), epoch=epoch, head=HEAD)
    return pages.after(place, seq, count_max=count_max)


def seqs(frame: TailFrame | None) -> list[int]:
    assert frame is not None
    page: Deliver | PackedDeliver = frame.shared.frame  # type: ignore[assignment]
    return [event.seq for event in page.events]


def test_a_page_is_given_to_whoever_comes_to_its_place() -> None:
    pages = Pages(1_000_000)
    keep(pages, 990, HEAD)
    first, second = (after(pages, 989) for _ in range(2))
    assert first is not None and second is not None
    assert first.shared is second.shared, "and with it the encoding"
    assert seqs(first) == list(range(990, HEAD + 1))


@pytest.mark.parametrize(
    ("conv", "epoch", "seq"), [("g/b", "e", 989), ("g/a", "f", 989), ("g/a", "e", 988)]
)
def test_a_page_is_for_one_place_in_one_log(conv: str, epoch: str, seq: int) -> None:
    pages = Pages(1_000_000)
    keep(pages, 990, HEAD)
    assert after(pages, seq, conv=conv, epoch=epoch) is None


def test_a_reader_with_little_room_gets_the_beginning_of_a_page() -> None:
    pages = Pages(1_000_000)
    keep(pages, 990, HEAD)
    assert seqs(after(pages, 989, count_max=3)) == [990, 991, 992]


def test_what_a_small_window_cut_short_is_not_kept_for_others() -> None:
    pages = Pages(1_000_000)
    keep(pages, 1, 2)
    assert after(pages, 0) is None


def test_a_large_page_is_kept_wherever_it_ends() -> None:
    pages = Pages(1_000_000)
    last = WORTH_BYTES // size_of(*page_of(1, 1)) + 1
    keep(pages, 1, last)
    assert seqs(after(pages, 0)) == list(range(1, last + 1))


def test_the_page_that_nobody_asked_for_the_longest_goes_first() -> None:
    size = size_of(*page_of(991, HEAD))
    pages = Pages(3 * size)
    for conv in ("g/a", "g/b", "g/c"):
        keep(pages, 991, HEAD, conv=conv)
    after(pages, 990)
    keep(pages, 991, HEAD, conv="g/d")
    there = {c for c in ("g/a", "g/b", "g/c", "g/d") if after(pages, 990, conv=c)}
    assert there == {"g/a", "g/c", "g/d"}


@given(
    st.lists(st.tuples(st.sampled_from(["g/a", "g/b"]), st.integers(1, 60), st.integers(1, 60))),
    st.integers(1_000, 40_000),
)
def test_all_pages_together_keep_to_their_bound(
    added: list[tuple[str, int, int]], bytes_max: int
) -> None:
    pages = Pages(bytes_max)
    for conv, first, count in added:
        keep(pages, first, first + count - 1, conv=conv, head=first + count - 1)
        held = {
            id(frame): frame
            for name in ("g/a", "g/b")
            for seq in range(61)
            if (frame := after(pages, seq, conv=name)) is not None
        }
        assert sum(frame.bytes_held for frame in held.values()) == pages.bytes_held <= bytes_max
