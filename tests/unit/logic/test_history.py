"""Pages of the past: both directions, folded or not, and never more than fits."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imserver.core.errors import Refusal
from imserver.logic.history import SCANNED_MIN
from imserver.logic.session import Session
from imserver.protocol.client_frames import History
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Event, Role
from imserver.protocol.limits import Limits
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import Gap
from tests.unit.logic.logic_tier import LogicTier, peer_of
from tests.unit.logic.recording_peer import value


async def page(tier: LogicTier, session: Session, conv: str, **fields: Any) -> list[Event]:
    return await tier.history.read(session, History(7, conv, **fields))


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


def shown(events: list[Event]) -> list[tuple[int, Any]]:
    return [(event.seq, value(event.body)) for event in events if event.kind == "message"]


async def talked(tier: LogicTier, count: int) -> tuple[str, Session]:
    """Return a group with ``count`` messages after its creation, and its owner's session."""
    conv = await tier.group("a", "r1")
    session = await tier.session("r1")
    for n in range(count):
        await tier.send(session, conv, f"m{n + 2}")
    return conv, session


async def test_forwards_from_after_and_backwards_from_before(tier: LogicTier) -> None:
    conv, session = await talked(tier, 5)
    assert seqs(await page(tier, session, conv, after=2, limit=3)) == [3, 4, 5]
    assert seqs(await page(tier, session, conv, before=5, limit=3)) == [2, 3, 4]


async def test_without_a_place_the_last_events_come(tier: LogicTier) -> None:
    conv, session = await talked(tier, 5)
    assert seqs(await page(tier, session, conv, limit=2)) == [5, 6]


@pytest.mark.parametrize("place", [{"after": 6}, {"after": 99}, {"before": 1}, {"before": 0}])
async def test_beyond_either_end_there_is_an_empty_page(
    tier: LogicTier, place: dict[str, int]
) -> None:
    conv, session = await talked(tier, 5)
    for view in ("events", "messages"):
        assert await page(tier, session, conv, view=view, **place) == []


async def test_a_page_is_limited_in_bytes_too() -> None:
    async with LogicTier(page_bytes_max=100) as tier:
        conv = await tier.group("a", "r1")
        session = await tier.session("r1")
        for size in (40, 40, 40, 500, 10):
            await tier.send(session, conv, "x" * size)
        assert seqs(await page(tier, session, conv, after=1)) == [2, 3]
        assert seqs(await page(tier, session, conv, after=4)) == [5]
        assert seqs(await page(tier, session, conv, before=7)) == [6]


async def test_both_places_at_once_are_refused(tier: LogicTier) -> None:
    conv, session = await talked(tier, 1)
    with pytest.raises(Refusal) as caught:
        await page(tier, session, conv, after=0, before=9)
    assert caught.value.code is ErrorCode.BAD_FRAME


async def test_more_than_a_page_holds_is_refused_with_the_limit() -> None:
    async with LogicTier(limits=Limits(page_max=10)) as tier:
        conv, session = await talked(tier, 1)
        assert await page(tier, session, conv, limit=10)
        with pytest.raises(Refusal, match="10") as caught:
            await page(tier, session, conv, limit=11)
        assert caught.value.code is ErrorCode.TOO_LARGE


async def test_only_members_read(tier: LogicTier) -> None:
    conv, session = await talked(tier, 1)
    stranger = await tier.session("r2")
    for name in (conv, "g/nowhere", "d/r1/r3"):
        with pytest.raises(Refusal) as caught:
            await page(tier, stranger, name)
        assert caught.value.code is ErrorCode.NOT_FOUND
    await tier.groups.add(session, conv, ["r2"], role=Role.OBSERVER)
    assert seqs(await page(tier, stranger, conv)) == [1, 2, 3], "all of it, from before it came"


@pytest.mark.parametrize("place", [{"after": 1}, {"after": 0}, {"before": 9}, {}])
@pytest.mark.parametrize("view", ["events", "messages"])
async def test_who_is_removed_while_a_page_is_read_gets_nothing_behind_the_removal(
    tier: LogicTier, place: dict[str, int], view: str
) -> None:
    conv, owner = await talked(tier, 2)
    gone = await tier.session("r2")
    await tier.groups.add(owner, conv, ["r2"], role=Role.MEMBER)
    tier.store.pages_before.shut = True
    reading = tier.spawn(page(tier, gone, conv, view=view, **place), "history")
    await tier.settle()
    assert len(tier.store.pages_before) == 1
    await tier.groups.remove(owner, conv, ["r2"])
    await tier.send(owner, conv, "secret")
    await tier.send(owner, conv, "secret", kind="edit", ref=3)
    tier.store.pages_before.open()
    events = await reading
    assert seqs(events) == list(range(events[0].seq, 5))
    assert shown(events)[-1] == (3, "m3")
    with pytest.raises(Refusal) as caught:
        await page(tier, gone, conv, view=view, **place)
    assert caught.value.code is ErrorCode.NOT_FOUND


async def test_a_page_ends_at_the_head_also_where_its_beginning_was_let_go(tier: LogicTier) -> None:
    conv, owner = await talked(tier, 5)
    tier.store.pages_before.shut = True
    reading = tier.spawn(page(tier, owner, conv, after=0), "history")
    await tier.settle()
    await tier.send(owner, conv, "m7")
    await tier.store.trim(ConversationName(conv), 4, limit=100)
    tier.store.pages_before.open()
    assert seqs(await reading) == [4, 5, 6]
    assert seqs(await page(tier, owner, conv, after=6)) == [7]


async def test_a_gap_ends_at_the_head_also_where_more_than_that_was_let_go(tier: LogicTier) -> None:
    conv, owner = await talked(tier, 2)
    tier.store.pages_before.shut = True
    reading = tier.spawn(page(tier, owner, conv, after=0), "history")
    await tier.settle()
    await tier.send(owner, conv, "m4")
    await tier.send(owner, conv, "m5")
    await tier.store.trim(ConversationName(conv), 5, limit=100)
    tier.store.pages_before.open()
    assert seqs(await reading) == []
    assert seqs(await page(tier, owner, conv, after=3)) == [5]
    assert [(gap.from_, gap.to) for gap in peer_of(owner).of(Gap)] == [(1, 3), (4, 4)]


async def test_what_is_let_go_in_the_middle_of_what_is_scanned_is_told_too(tier: LogicTier) -> None:
    conv, owner = await talked(tier, 1)
    for _ in range(SCANNED_MIN):
        await tier.send(owner, conv, "new", kind="edit", ref=2)
    for body in ("lost", "kept"):
        await tier.send(owner, conv, body)
    scanned = 2 + SCANNED_MIN
    tier.store.pages_before.shut = True
    reading = tier.spawn(page(tier, owner, conv, after=2, view="messages"), "history")
    await tier.settle()
    tier.store.pages_before.let_one()
    await tier.settle()
    await tier.store.trim(ConversationName(conv), scanned + 2, limit=scanned + 2)
    tier.store.pages_before.open()
    assert shown(await reading) == [(scanned + 2, "kept")]
    assert [(gap.from_, gap.to) for gap in peer_of(owner).of(Gap)] == [(scanned + 1, scanned + 1)]


async def test_an_edited_message_carries_its_last_body(tier: LogicTier) -> None:
    conv, session = await talked(tier, 3)
    await tier.send(session, conv, "new", kind="edit", ref=3)
    await tier.send(session, conv, "newest", kind="edit", ref=3)
    events = await page(tier, session, conv, after=1, view="messages")
    assert shown(events) == [(2, "m2"), (3, "newest"), (4, "m4")]


async def test_a_redaction_wins_over_edits_before_and_after_it(tier: LogicTier) -> None:
    conv, session = await talked(tier, 1)
    await tier.send(session, conv, "new", kind="edit", ref=2)
    await tier.send(session, conv, None, kind="redact", ref=2)
    await tier.send(session, conv, "back again", kind="edit", ref=2)
    assert shown(await page(tier, session, conv, after=1, view="messages")) == [(2, None)]


async def test_an_edit_counts_although_it_lies_beyond_the_page(tier: LogicTier) -> None:
    conv, session = await talked(tier, 9)
    await tier.send(session, conv, "new", kind="edit", ref=2)
    assert shown(await page(tier, session, conv, after=1, limit=1, view="messages")) == [(2, "new")]


async def test_the_log_itself_shows_edits_as_events(tier: LogicTier) -> None:
    conv, session = await talked(tier, 1)
    await tier.send(session, conv, "new", kind="edit", ref=2)
    events = await page(tier, session, conv, after=1)
    assert [(event.kind, value(event.body)) for event in events] == [
        ("message", "m2"),
        ("edit", "new"),
    ]


@pytest.mark.parametrize("place", [{"after": 2, "limit": 2}, {"before": 8, "limit": 2}])
async def test_pages_of_nothing_but_edits_are_passed_over(
    tier: LogicTier, place: dict[str, int]
) -> None:
    conv, session = await talked(tier, 1)
    for n in range(6):
        await tier.send(session, conv, f"e{n}", kind="edit", ref=2)
    await tier.send(session, conv, "m9")
    expected = [(9, "m9")] if "after" in place else [(2, "e5")]
    assert shown(await page(tier, session, conv, view="messages", **place)) == expected


async def test_large_edits_of_small_messages_do_not_burst_the_page() -> None:
    async with LogicTier(page_bytes_max=1_000) as tier:
        conv, session = await talked(tier, 6)
        for seq in range(2, 8):
            await tier.send(session, conv, "x" * 400, kind="edit", ref=seq)
        forwards = await page(tier, session, conv, after=1, view="messages")
        assert seqs(forwards) == [2, 3]
        backwards = await page(tier, session, conv, before=8, view="messages")
        assert seqs(backwards) == [6, 7]


@settings(max_examples=40, deadline=None)
@given(
    amendments=st.lists(st.tuples(st.integers(2, 9), st.sampled_from(("edit", "redact"))), max_size=9),
    limit=st.integers(1, 7),
    page_bytes_max=st.sampled_from((1, 30, 10_000)),
    forwards=st.booleans(),
)  # fmt: skip
async def test_page_after_page_everything_comes_once_and_in_order(
    amendments: list[tuple[int, str]], limit: int, page_bytes_max: int, forwards: bool
) -> None:
    async with LogicTier(page_bytes_max=page_bytes_max) as tier:
        conv, session = await talked(tier, 8)
        expected = {seq: f"m{seq}" for seq in range(2, 10)}
        for n, (ref, kind) in enumerate(amendments):
            await tier.send(session, conv, f"e{n}", kind=kind, ref=ref)
            if kind == "redact":
                expected[ref] = None  # type: ignore[assignment]
            elif expected[ref] is not None:
                expected[ref] = f"e{n}"
        found: list[Event] = []
        place: dict[str, int] = {"after": 0} if forwards else {}
        while part := await page(tier, session, conv, limit=limit, view="messages", **place):
            assert len(part) <= limit
            found = found + part if forwards else part + found
            place = {"after": part[-1].seq} if forwards else {"before": part[0].seq}
        assert shown(found) == list(expected.items())
