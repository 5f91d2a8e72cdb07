"""Sessions: where delivery begins, what an ack means, and who takes whose place."""

from typing import Any

import pytest

from imserver.core.errors import Refusal
from imserver.logic.session import LEFT_MAX, Session
from imserver.protocol.client_frames import Position
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.limits import Limits
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import ConversationState, Deliver, Gap, Welcome
from tests.unit.logic.logic_tier import LogicTier, peer_of
from tests.unit.logic.recording_peer import RecordingPeer


async def talked(tier: LogicTier, count: int, *members: str) -> str:
    """Return a group of r1 and ``members`` with ``count`` events."""
    conv = await tier.group("a", "r1", *members)
    sender = await tier.session("boss", admin=True, auto=False)
    for _ in range(count - 1):
        await tier.send(sender, conv)
    return conv


async def acked(tier: LogicTier, session: Session, conv: str, seq: int) -> None:
    """Ack, and wait until the cursor is stored."""
    await tier.settle()
    tier.sessions.ack(session, conv, seq)
    await tier.committer.settle_cursors(session.robot)


def first_seq(session: Session, conv: str) -> int | None:
    seqs = peer_of(session).seqs(conv)
    return seqs[0] if seqs else None


async def test_welcome_comes_first_and_tells_heads_and_cursors(tier: LogicTier) -> None:
    conv = await talked(tier, 5)
    await acked(tier, await tier.session("r1"), conv, 3)
    session = await tier.session("r1")
    welcome = peer_of(session).frames[0]
    assert isinstance(welcome, Welcome)
    assert welcome.conversations == [ConversationState(conv, "epoch-1", 5, 3)]
    assert (welcome.robot, welcome.device, welcome.session) == ("r1", "main", session.id)
    assert (welcome.now, welcome.limits) == (tier.clock.now_ms(), tier.limits)


async def test_a_new_robot_begins_with_what_made_it_a_member(tier: LogicTier) -> None:
    conv = await talked(tier, 4)
    owner = await tier.session("r1", auto=False)
    await tier.store.enlist("r2")
    await tier.groups.add(owner, conv, ["r2"], role=Role.MEMBER)
    session = await tier.session("r2")
    await tier.settle()
    assert peer_of(session).seqs(conv) == [5]


async def test_a_device_goes_on_after_its_own_cursor(tier: LogicTier) -> None:
    conv = await talked(tier, 5)
    await acked(tier, await tier.session("r1"), conv, 3)
    session = await tier.session("r1")
    await tier.settle()
    assert peer_of(session).seqs(conv) == [4, 5]


async def test_a_new_device_goes_on_after_the_robots_furthest_cursor(tier: LogicTier) -> None:
    conv = await talked(tier, 6)
    for device, seq in (("one", 2), ("two", 4)):
        await acked(tier, await tier.session("r1", device), conv, seq)
    session = await tier.session("r1", "three")
    await tier.settle()
    assert peer_of(session).seqs(conv) == [5, 6]


async def test_a_device_that_is_behind_another_keeps_its_own_place(tier: LogicTier) -> None:
    conv = await talked(tier, 6)
    for device, seq in (("one", 2), ("two", 4)):
        await acked(tier, await tier.session("r1", device), conv, seq)
    session = await tier.session("r1", "one")
    await tier.settle()
    assert first_seq(session, conv) == 3


async def test_a_new_device_that_resumes_from_nothing_begins_with_the_first_event(
    tier: LogicTier,
) -> None:
    conv = await talked(tier, 9)
    await acked(tier, await tier.session("r1"), conv, 5)
    session = await tier.session("r1", "arm", resume={conv: Position("any", 0)})
    assert peer_of(session).of(Gap) == []
    assert first_seq(session, conv) == 1


async def test_resume_goes_before_the_stored_cursor(tier: LogicTier) -> None:
    conv = await talked(tier, 5)
    await acked(tier, await tier.session("r1"), conv, 3)
    session = await tier.session("r1", resume={conv: Position("epoch-1", 1)})
    await tier.settle()
    assert peer_of(session).seqs(conv) == [2, 3, 4, 5]
    assert peer_of(session).of(Gap) == []


@pytest.mark.parametrize(
    ("position", "gap", "first"),
    [
        (Position("epoch-0", 7), (4, 7, "restored"), 4),
        (Position("epoch-0", 5), (4, 5, "restored"), 4),
        (Position("epoch-0", 2), None, 3),
        (Position("epoch-1", 9), (4, 9, "ahead"), 4),
    ],
)
async def test_a_position_the_log_does_not_know_begins_where_both_agree(
    tier: LogicTier, position: Position, gap: Any, first: int
) -> None:
    conv = await talked(tier, 5)
    await acked(tier, await tier.session("r1"), conv, 3)
    session = await tier.session("r1", resume={conv: position})
    await tier.settle()
    told = [(frame.from_, frame.to, frame.why) for frame in peer_of(session).of(Gap)]
    assert told == ([gap] if gap else [])
    assert first_seq(session, conv) == first


@pytest.mark.parametrize("position", [Position("epoch-0", 4), Position("epoch-1", 9)])
async def test_a_device_whose_log_was_cut_back_is_shown_what_another_device_has_acked(
    tier: LogicTier, position: Position
) -> None:
    conv = await talked(tier, 5)
    await acked(tier, await tier.session("r1", device="arm"), conv, 5)
    session = await tier.session("r1", resume={conv: position})
    await tier.settle()
    told = [(frame.from_, frame.to) for frame in peer_of(session).of(Gap)]
    assert told == [(1, position.seq)]
    assert peer_of(session).seqs(conv) == [1, 2, 3, 4, 5]


async def test_resuming_what_one_is_no_member_of_is_passed_over(tier: LogicTier) -> None:
    await tier.group("a", "r2")
    session = await tier.session(
        "r1", resume={"g/a": Position("epoch-1", 0), "junk": Position("", 9)}
    )
    await tier.settle()
    assert [type(frame) for frame in peer_of(session).frames] == [Welcome]


async def test_without_auto_nothing_comes_before_follow(tier: LogicTier) -> None:
    conv = await talked(tier, 3)
    session = await tier.session("r1", auto=False)
    await tier.settle()
    assert peer_of(session).of(Deliver) == []
    held = tier.conversations.peek(conv)
    assert held is not None
    tier.sessions.follow(session, held, 1)
    await tier.settle()
    assert peer_of(session).seqs(conv) == [2, 3]


async def test_following_again_moves_the_place(tier: LogicTier) -> None:
    conv = await talked(tier, 3)
    session = await tier.session("r1")
    await tier.settle()
    held = tier.conversations.peek(conv)
    assert held is not None
    tier.sessions.follow(session, held, 1)
    await tier.settle()
    assert peer_of(session).seqs(conv) == [1, 2, 3, 2, 3]
    assert len(held.readers) == 1


async def test_following_from_beyond_the_head_waits_for_what_comes(tier: LogicTier) -> None:
    conv = await talked(tier, 3)
    session = await tier.session("r1", auto=False)
    held = tier.conversations.peek(conv)
    assert held is not None
    tier.sessions.follow(session, held, 999)
    await tier.send(session, conv)
    assert peer_of(session).seqs(conv) == [4]


async def test_an_unfollowed_conversation_is_delivered_no_longer(tier: LogicTier) -> None:
    conv = await talked(tier, 2)
    session = await tier.session("r1")
    await tier.settle()
    tier.sessions.unfollow(session, conv)
    tier.sessions.unfollow(session, conv)
    await tier.send(session, conv)
    assert peer_of(session).seqs(conv) == [1, 2]


async def test_an_ack_is_stored_for_the_device(tier: LogicTier) -> None:
    conv = await talked(tier, 3)
    session = await tier.session("r1")
    await acked(tier, session, conv, 2)
    assert await tier.store.acked(conv) == {"r1": 2}  # type: ignore[arg-type]


async def test_an_older_ack_changes_nothing(tier: LogicTier) -> None:
    conv = await talked(tier, 3)
    session = await tier.session("r1")
    await acked(tier, session, conv, 3)
    tier.sessions.ack(session, conv, 1)
    await tier.committer.settle_cursors(session.robot)
    assert await tier.store.acked(conv) == {"r1": 3}  # type: ignore[arg-type]


async def test_an_ack_of_what_was_not_delivered_is_a_conflict(tier: LogicTier) -> None:
    conv = await talked(tier, 5)
    session = await tier.session("r1", window=2)
    await tier.settle()
    with pytest.raises(Refusal) as caught:
        tier.sessions.ack(session, conv, 3)
    assert caught.value.code is ErrorCode.CONFLICT and "2" in caught.value.message


async def test_an_ack_of_what_one_does_not_receive_is_not_found(tier: LogicTier) -> None:
    session = await tier.session("r1")
    with pytest.raises(Refusal) as caught:
        tier.sessions.ack(session, "g/a", 0)
    assert caught.value.code is ErrorCode.NOT_FOUND


async def test_who_was_removed_acks_what_it_was_given_up_to_its_removal(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    owner, gone = await tier.session("r1"), await tier.session("r2")
    await tier.groups.remove(owner, conv, ["r2"])
    await tier.settle()
    assert peer_of(gone).seqs(conv) == [1, 2]
    await acked(tier, gone, conv, 2)
    assert await tier.store.acked(ConversationName(conv)) == {"r2": 2}
    with pytest.raises(Refusal) as caught:
        tier.sessions.ack(gone, conv, 3)
    assert caught.value.code is ErrorCode.NOT_FOUND


async def test_of_the_groups_one_was_removed_from_only_the_last_ones_are_remembered(
    tier: LogicTier,
) -> None:
    session = await tier.session("r1")
    for number in range(LEFT_MAX + 3):
        session.leave(ConversationName(f"g/{number}"), 5)
    tier.sessions.ack(session, f"g/{LEFT_MAX}", 5)
    with pytest.raises(Refusal):
        tier.sessions.ack(session, "g/2", 5)


async def test_a_window_is_at_most_what_the_server_allows() -> None:
    async with LogicTier(limits=Limits(window_max=2)) as tier:
        conv = await talked(tier, 5)
        session = await tier.session("r1", window=1_000)
        await tier.settle()
        assert peer_of(session).seqs(conv) == [1, 2]


async def test_a_newer_session_of_a_device_replaces_the_older(tier: LogicTier) -> None:
    conv = await talked(tier, 1)
    old = await tier.session("r1")
    await tier.settle()
    new = await tier.session("r1")
    await tier.send(new, conv)
    closed = peer_of(old).closed
    assert closed is not None and closed[0] == CloseCode.REPLACED
    assert tier.sessions.all().count(new) == 1 and old not in tier.sessions.all()
    held = tier.conversations.peek(conv)
    assert held is not None and [reader.session for reader in held.readers] == [new]


async def test_devices_of_a_robot_live_side_by_side_and_see_the_same(tier: LogicTier) -> None:
    conv = await talked(tier, 3)
    one, other = await tier.session("r1"), await tier.session("r1", "spare")
    await tier.send(one, conv)
    assert peer_of(one).delivered(conv) == peer_of(other).delivered(conv)
    assert len(tier.sessions) == 3


async def test_the_end_of_a_replaced_session_leaves_the_newer_one_alone(tier: LogicTier) -> None:
    old = await tier.session("r1")
    new = await tier.session("r1")
    tier.sessions.close(old, "lost")
    assert tier.sessions.all() == [new] and new.robot in tier.sessions.by_robot


async def test_a_robot_is_offline_after_its_last_session(tier: LogicTier) -> None:
    one, other = await tier.session("r1"), await tier.session("r1", "spare")
    tier.sessions.close(one, "lost")
    assert one.robot in tier.sessions.by_robot
    tier.sessions.close(other, "lost")
    tier.sessions.close(other, "lost")
    assert one.robot not in tier.sessions.by_robot and len(tier.sessions) == 0


async def test_a_client_that_is_gone_when_its_session_opens_takes_nobodys_place(
    tier: LogicTier,
) -> None:
    there = await tier.session("r1")
    gone = RecordingPeer()
    tier.store.memberships_read.shut = True
    opening = tier.spawn(tier.session("r1", peer=gone), "hello")
    await tier.settle()
    gone.close(1006, "lost")
    tier.store.memberships_read.open()
    with pytest.raises(AssertionError, match="its peer is there"):
        await opening
    tier.tasks.discard(opening)
    assert tier.sessions.all() == [there] and peer_of(there).closed is None


async def test_a_group_one_is_added_to_during_hello_is_not_missed(tier: LogicTier) -> None:
    conv = await talked(tier, 2)
    owner = await tier.session("r1", auto=False)
    await tier.store.enlist("r2")
    tier.store.memberships_read.shut = True
    opening = tier.spawn(tier.session("r2"), "hello")
    await tier.settle()
    await tier.groups.add(owner, conv, ["r2"], role=Role.MEMBER)
    tier.store.memberships_read.open()
    session = await opening
    await tier.settle()
    assert peer_of(session).seqs(conv) == [3]


async def test_a_group_one_is_removed_from_during_hello_is_not_received(tier: LogicTier) -> None:
    conv = await talked(tier, 2, "r2")
    owner = await tier.session("r1", auto=False)
    tier.store.memberships_read.shut = True
    opening = tier.spawn(tier.session("r2"), "hello")
    await tier.settle()
    await tier.groups.remove(owner, conv, ["r2"])
    await tier.send(owner, conv)
    tier.store.memberships_read.open()
    session = await opening
    await tier.settle()
    assert peer_of(session).of(Deliver) == []
    assert peer_of(session).last(Welcome).conversations == []


async def test_nobody_is_remembered_as_opening_after_hello(tier: LogicTier) -> None:
    await tier.session("r1")
    assert not tier.sessions._opening


async def test_a_group_one_is_added_to_while_online_is_received_at_once(tier: LogicTier) -> None:
    session, by_hand = await tier.session("r2"), await tier.session("r2", "hand", auto=False)
    conv = await talked(tier, 2)
    owner = await tier.session("r1", auto=False)
    await tier.groups.add(owner, conv, ["r2"], role=Role.MEMBER)
    await tier.send(owner, conv)
    assert peer_of(session).seqs(conv) == [3, 4]
    assert peer_of(by_hand).seqs(conv) == []


async def test_what_was_just_acked_is_known_to_the_next_session(tier: LogicTier) -> None:
    conv = await talked(tier, 4)
    old = await tier.session("r1")
    await tier.settle()
    tier.sessions.ack(old, conv, 4)
    new = await tier.session("r1")
    await tier.settle()
    assert peer_of(new).seqs(conv) == []
