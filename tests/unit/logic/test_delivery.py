"""Delivery, one promise at a time; every order of things is in test_delivery_machine."""

import asyncio

import pytest

from imserver.core.errors import StoreCorrupt, StoreUnavailable
from imserver.logic import delivery as delivery_module
from imserver.protocol.errors import CloseCode
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import Deliver, Error, Gap, Head
from tests.unit.logic.logic_tier import LogicTier, peer_of
from tests.unit.logic.recording_peer import RecordingPeer


async def send_many(tier: LogicTier, conv: str, count: int) -> None:
    """Send ``count`` messages in one go as the admin."""
    boss = await tier.session("boss", admin=True, auto=False)
    tasks = [tier.spawn(tier.try_send(boss, conv), "send") for _ in range(count)]
    await tier.settle()
    if not tier.store.commits.shut:
        await asyncio.gather(*tasks)


async def test_live_readers_share_one_frame(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    one, other = await tier.session("r1"), await tier.session("r2")
    await tier.settle()
    await tier.send(one, conv, "hello")
    frames = [peer_of(session).last(Deliver) for session in (one, other)]
    assert frames[0] is frames[1]


async def test_one_commit_is_one_frame(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    reader = await tier.session("r1")
    tier.store.commits.shut = True
    await send_many(tier, conv, 5)
    tier.store.commits.open()
    await tier.settle()
    assert peer_of(reader).seqs(conv) == [1, 2, 3, 4, 5, 6]
    assert [len(frame.events) for frame in peer_of(reader).of(Deliver)] == [1, 5]


async def test_nothing_is_delivered_before_its_commit_returned(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    reader = await tier.session("r1")
    await tier.settle()
    tier.store.commits.shut = True
    await send_many(tier, conv, 1)
    assert peer_of(reader).seqs(conv) == [1]
    tier.store.commits.open()
    await tier.settle()
    assert peer_of(reader).seqs(conv) == [1, 2]


async def test_a_page_that_holds_more_than_was_published_doubles_nothing(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    tier.store.commits.shut = True
    await send_many(tier, conv, 1)
    reader = await tier.session("r1")
    await tier.settle()
    assert peer_of(reader).seqs(conv) == [1]
    tier.store.commits.open()
    await tier.settle()
    assert peer_of(reader).seqs(conv) == [1, 2]


async def test_a_member_whose_adding_is_stored_but_not_published_gets_nothing_older(
    tier: LogicTier,
) -> None:
    conv = await tier.group("a", "boss")
    boss = await tier.session("boss", admin=True, auto=False)
    await tier.store.enlist("r1")
    tier.store.commits.shut = True
    for work in (
        tier.try_send(boss, conv),  # a commit of its own
        tier.try_send(boss, conv),  # these two share the next one
        tier.groups.add(boss, conv, ["r1"], role=Role.MEMBER),
    ):
        tier.spawn(work, "request")
        await tier.settle()
    tier.store.commits.let_one()
    await tier.settle()
    reader = await tier.session("r1")
    await tier.settle()
    tier.store.commits.open()
    await tier.settle()
    assert peer_of(reader).seqs(conv) == [4]


async def test_a_reader_gets_no_more_than_its_window_beyond_its_acks(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    reader = await tier.session("r1", window=3)
    await tier.settle()
    await send_many(tier, conv, 10)
    assert peer_of(reader).seqs(conv) == [1, 2, 3]
    tier.sessions.ack(reader, conv, 2)
    await tier.settle()
    assert peer_of(reader).seqs(conv) == [1, 2, 3, 4, 5]


async def test_a_congested_reader_gets_the_rest_in_order_once_it_drained(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    peer = RecordingPeer()
    reader = await tier.session("r1", peer=peer)
    await tier.settle()
    peer.congested = True
    await send_many(tier, conv, 5)
    assert peer.seqs(conv) == [1]
    peer.drain(tier.sessions, reader)
    await tier.settle()
    assert peer.seqs(conv) == [1, 2, 3, 4, 5, 6]


async def test_a_congested_reader_slows_nobody_else(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    slow = RecordingPeer()
    slow.congested = True
    await tier.session("r1", peer=slow)
    quick = await tier.session("r2")
    await send_many(tier, conv, 5)
    assert peer_of(quick).seqs(conv) == [1, 2, 3, 4, 5, 6]


async def test_a_reader_slightly_behind_is_fed_from_memory(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    peer = RecordingPeer()
    reader = await tier.session("r1", peer=peer)
    await tier.settle()
    peer.congested = True
    await send_many(tier, conv, 5)
    pages = tier.store.pages_read
    peer.drain(tier.sessions, reader)
    assert peer.seqs(conv)[-1] == 6
    assert tier.store.pages_read == pages


async def test_readers_that_need_the_same_page_share_one_read(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2", "r3")
    await send_many(tier, conv, 5)
    tier.store.pages.shut = True
    pages = tier.store.pages_read
    readers = [await tier.session(robot) for robot in ("r1", "r2", "r3")]
    await tier.settle()
    assert tier.store.pages_read == pages + 1
    tier.store.pages.open()
    await tier.settle()
    frames = [peer_of(reader).pushed[-1] for reader in readers]
    assert frames[0] is frames[1] is frames[2]


async def test_readers_that_come_to_the_same_place_one_by_one_share_one_read_too(
    tier: LogicTier,
) -> None:
    conv = await tier.group("a", "r1", "r2", "r3")
    await send_many(tier, conv, 5)
    pages = tier.store.pages_read
    readers = []
    for robot in ("r1", "r2", "r3"):
        readers.append(await tier.session(robot))
        await tier.settle()
    assert tier.store.pages_read == pages + 1
    frames = [peer_of(reader).pushed[-1] for reader in readers]
    assert frames[0] is frames[1] is frames[2]
    assert [peer_of(reader).seqs(conv) for reader in readers] == [[1, 2, 3, 4, 5, 6]] * 3


async def test_a_page_that_others_have_read_keeps_to_the_window_of_who_gets_it(
    tier: LogicTier,
) -> None:
    conv = await tier.group("a", "r1", "r2")
    await send_many(tier, conv, 9)
    await tier.session("r1")
    await tier.settle()
    narrow = await tier.session("r2", window=4)
    await tier.settle()
    assert peer_of(narrow).seqs(conv) == [1, 2, 3, 4]


async def test_events_that_were_let_go_are_not_given_from_a_page_that_was_read_before(
    tier: LogicTier,
) -> None:
    conv = await tier.group("a", "r1", "r2")
    await send_many(tier, conv, 9)
    await tier.session("r1")
    await tier.settle()
    held = await tier.conversations.load(conv)  # type: ignore[arg-type]
    assert held is not None
    held.floor = 6
    late = await tier.session("r2")
    await tier.settle()
    assert peer_of(late).seqs(conv) == [6, 7, 8, 9, 10]
    (gap,) = peer_of(late).of(Gap)
    assert (gap.from_, gap.to) == (1, 5)


async def test_a_session_reads_a_few_pages_at_a_time_and_forgets_no_conversation(
    tier: LogicTier,
) -> None:
    convs = [await tier.group(f"g{n}", "r1") for n in range(9)]
    tier.store.pages.shut = True
    reader = await tier.session("r1")
    await tier.settle()
    assert len(tier.store.pages) == delivery_module.PAGES_IN_FLIGHT_MAX
    assert reader.loads == delivery_module.PAGES_IN_FLIGHT_MAX
    while len(tier.store.pages):
        tier.store.pages.let_one()
        await tier.settle()
    assert all(peer_of(reader).seqs(conv) == [1] for conv in convs)
    assert reader.loads == 0


async def test_large_batches_are_parted_into_frames_by_count(
    tier: LogicTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "PAGE_EVENTS_MAX", 2)
    conv = await tier.group("a", "r1")
    reader = await tier.session("r1")
    await tier.settle()
    tier.store.commits.shut = True
    await send_many(tier, conv, 6)
    tier.store.commits.open()
    await tier.settle()
    assert [len(frame.events) for frame in peer_of(reader).of(Deliver)] == [1, 2, 2, 2]


async def test_large_batches_are_parted_into_frames_by_bytes() -> None:
    async with LogicTier(page_bytes_max=1_000) as tier:
        conv = await tier.group("a", "r1")
        reader = await tier.session("r1")
        boss = await tier.session("boss", admin=True, auto=False)
        await tier.settle()
        tier.store.commits.shut = True
        for _ in range(6):
            tier.spawn(tier.try_send(boss, conv, "x" * 250), "send")
        await tier.settle()
        tier.store.commits.open()
        await tier.settle()
        sizes = [len(frame.events) for frame in peer_of(reader).of(Deliver)]
        assert max(sizes) == 2, "two of some 450 bytes fit in 1,000"
        assert sum(sizes) == 7


async def test_a_store_that_cannot_be_read_sends_the_reader_away_to_come_back(
    tier: LogicTier,
) -> None:
    await tier.group("a", "r1")
    tier.store.page_fails.append(StoreUnavailable("the disk is away"))
    reader = await tier.session("r1")
    await tier.settle()
    closed = peer_of(reader).closed
    assert closed is not None and closed[0] == CloseCode.RESTART
    assert reader.loads == 0


async def test_what_a_removed_robot_had_not_taken_yet_ends_with_its_removal(
    tier: LogicTier,
) -> None:
    conv = await tier.group("a", "boss", "r1")
    boss = await tier.session("boss", admin=True, auto=False)
    peer = RecordingPeer()
    reader = await tier.session("r1", peer=peer)
    await tier.settle()
    peer.congested = True
    await tier.send(boss, conv)
    await tier.groups.remove(boss, conv, ["r1"])
    await tier.send(boss, conv)
    peer.drain(tier.sessions, reader)
    await tier.settle()
    assert peer.seqs(conv) == [1, 2, 3]
    assert conv not in reader.readers


async def test_a_robot_that_returns_before_it_took_its_removal_sees_no_hole(
    tier: LogicTier,
) -> None:
    conv = await tier.group("a", "boss", "r1")
    boss = await tier.session("boss", admin=True, auto=False)
    peer = RecordingPeer()
    reader = await tier.session("r1", peer=peer)
    await tier.settle()
    peer.congested = True
    await tier.send(boss, conv)
    await tier.groups.remove(boss, conv, ["r1"])
    await tier.send(boss, conv)
    await tier.groups.add(boss, conv, ["r1"], role=Role.MEMBER)
    await tier.send(boss, conv)
    peer.drain(tier.sessions, reader)
    await tier.settle()
    assert peer.seqs(conv) == [1, 2, 3, 4, 5, 6]


async def test_a_robot_that_returns_goes_on_with_the_event_that_adds_it(tier: LogicTier) -> None:
    conv = await tier.group("a", "boss", "r1")
    boss = await tier.session("boss", admin=True, auto=False)
    reader = await tier.session("r1")
    await tier.settle()
    await tier.groups.remove(boss, conv, ["r1"])
    await tier.send(boss, conv)
    await tier.groups.add(boss, conv, ["r1"], role=Role.MEMBER)
    await tier.send(boss, conv)
    assert peer_of(reader).seqs(conv) == [1, 2, 4, 5]


async def test_an_admins_session_goes_on_after_its_robot_was_removed(tier: LogicTier) -> None:
    conv = await tier.group("a", "boss", "r1")
    boss = await tier.session("boss", admin=True, auto=False)
    reader = await tier.session("r1", admin=True)
    await tier.settle()
    await tier.groups.remove(boss, conv, ["r1"])
    await tier.send(boss, conv)
    assert peer_of(reader).seqs(conv) == [1, 2, 3]


async def test_a_change_of_role_brings_back_nobody_who_does_not_want_to_receive(
    tier: LogicTier,
) -> None:
    conv = await tier.group("a", "boss", "r1")
    boss = await tier.session("boss", admin=True, auto=False)
    reader = await tier.session("r1")
    await tier.settle()
    tier.sessions.unfollow(reader, conv)
    await tier.groups.set_role(boss, conv, "r1", role=Role.OBSERVER)
    await tier.send(boss, conv)
    assert peer_of(reader).seqs(conv) == [1]


async def test_the_end_of_a_group_is_the_last_its_members_get(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    owner, member = await tier.session("r1"), await tier.session("r2")
    await tier.settle()
    await tier.groups.delete(owner, conv)
    assert peer_of(member).delivered(conv)[-1].kind == "group_deleted"
    assert owner.readers == member.readers == {}


async def test_idle_heads_are_announced_to_level_readers(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    reader = await tier.session("r1")
    await tier.settle()
    tier.delivery.announce_heads()  # which sees that there was traffic
    tier.delivery.announce_heads()
    assert peer_of(reader).of(Head) == [Head(conv, "epoch-1", 1)]


async def test_heads_of_busy_conversations_are_not_announced(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    reader = await tier.session("r1")
    await tier.settle()
    tier.delivery.announce_heads()
    await tier.send(reader, conv)
    tier.delivery.announce_heads()
    assert peer_of(reader).of(Head) == []


async def test_a_reader_that_is_behind_hears_no_head(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    reader = await tier.session("r1", window=1)
    await send_many(tier, conv, 3)
    tier.delivery.announce_heads()
    tier.delivery.announce_heads()
    assert peer_of(reader).of(Head) == []


async def test_a_conversation_without_readers_keeps_no_tail(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    reader = await tier.session("r1")
    await send_many(tier, conv, 3)
    tier.sessions.close(reader, "clean")
    await send_many(tier, conv, 1)
    held = tier.conversations.peek(conv)
    assert held is not None and held.tail is None and held.head == 5


@pytest.mark.parametrize("trouble", [StoreUnavailable("away"), StoreCorrupt("damaged")])
async def test_a_page_that_cannot_be_read_is_nothing_to_who_wants_it_no_more(
    tier: LogicTier, trouble: StoreUnavailable | StoreCorrupt
) -> None:
    conv = await tier.group("a", "r1")
    tier.store.page_fails.append(trouble)
    session = await tier.session("r1")
    tier.sessions.unfollow(session, conv)
    await tier.settle()
    assert not tier.store.page_fails
    assert (peer_of(session).closed, peer_of(session).of(Error)) == (None, [])


async def test_who_goes_on_elsewhere_while_its_page_is_let_go_has_left_nothing(
    tier: LogicTier,
) -> None:
    conv = await tier.group("a", "r1")
    await send_many(tier, conv, 4)
    tier.store.pages_before.shut = True
    session = await tier.session("r1")
    await tier.settle()
    await tier.store.trim(ConversationName(conv), 3, limit=10)
    conversation = tier.conversations.peek(conv)
    assert conversation is not None
    tier.sessions.follow(session, conversation, 3)
    tier.store.pages_before.open()
    await tier.settle()
    assert session.left is None
    assert peer_of(session).seqs(conv) == [4, 5]
