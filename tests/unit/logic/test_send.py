"""Sending: who may, what may be sent, and what the sender hears."""

from typing import Any

import pytest

from imserver.core.errors import Refusal, StoreUnavailable
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import SERVER_KINDS, Role
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import Deliver, Error, Sent
from tests.unit.logic.logic_tier import LogicTier, peer_of
from tests.unit.logic.recording_peer import value


async def refused(tier: LogicTier, session: Any, conv: str, **fields: Any) -> Refusal | Error:
    """Return how a send is refused."""
    try:
        answer = await tier.try_send(session, conv, **fields)
    except Refusal as refusal:
        return refusal
    assert isinstance(answer, Error)
    return answer


async def refused_meanwhile(tier: LogicTier, session: Any, conv: str) -> Refusal | Error:
    """Return how a send is refused that came while nothing was committed."""
    asking = tier.spawn(refused(tier, session, conv), "send")
    await tier.settle()
    tier.store.commits.open()
    answer: Refusal | Error = await asking
    return answer


async def test_a_sent_event_is_answered_with_its_place(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    sender = await tier.session("r1")
    sent = await tier.send(sender, conv)
    assert sent == Sent(sent.id, conv, "epoch-1", 2, tier.clock.now_ms(), dup=False)


async def test_the_same_cid_gets_the_same_answer_and_is_one_event(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    sender = await tier.session("r1")
    first = await tier.send(sender, conv, cid="c")
    tier.clock.ms += 5_000
    again = await tier.send(sender, conv, cid="c")
    assert (again.seq, again.ts, again.dup) == (first.seq, first.ts, True)
    assert peer_of(sender).seqs(conv) == [1, 2]


@pytest.mark.parametrize("other", [{"body": "other"}, {"kind": "command"}, {"ref": 1}])
async def test_a_cid_for_another_event_is_a_conflict_that_names_the_first(
    tier: LogicTier, other: dict[str, Any]
) -> None:
    conv = await tier.group("a", "r1")
    sender = await tier.session("r1")
    await tier.send(sender, conv, cid="c")
    answer = await tier.try_send(sender, conv, **({"cid": "c"} | other))
    assert isinstance(answer, Error)
    assert answer.code is ErrorCode.CONFLICT and "seq 2" in answer.message


async def test_two_robots_may_use_the_same_cid(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    one, other = await tier.session("r1"), await tier.session("r2")
    assert (await tier.send(one, conv, cid="c")).seq == 2
    assert (await tier.send(other, conv, cid="c")).seq == 3


async def test_a_held_conversation_takes_a_send_without_waiting(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    sender = await tier.session("r1")
    tier.store.conversations_read.shut = True
    assert (await tier.send(sender, conv)).seq == 2


async def test_who_is_no_member_hears_not_found_as_for_a_missing_group(tier: LogicTier) -> None:
    await tier.group("a", "r1")
    stranger = await tier.session("r2")
    there = await refused(tier, stranger, "g/a")
    missing = await refused(tier, stranger, "g/b")
    assert there.code is missing.code is ErrorCode.NOT_FOUND
    assert there.message.replace("g/a", "g/b") == missing.message


async def test_an_observer_may_not_send(tier: LogicTier) -> None:
    conv = await tier.group("a", "boss", "r1")
    boss, sender = await tier.session("boss"), await tier.session("r1")
    await tier.groups.set_role(boss, conv, "r1", role=Role.OBSERVER)
    assert (await refused(tier, sender, conv)).code is ErrorCode.FORBIDDEN


async def test_nobody_sends_to_a_group_that_ended(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    sender, admin = await tier.session("r1"), await tier.session("r2", admin=True)
    await tier.groups.delete(sender, conv)
    for session in (sender, admin):
        assert (await refused(tier, session, conv)).code is ErrorCode.NOT_FOUND


async def test_who_is_being_removed_sends_no_more(tier: LogicTier) -> None:
    conv = await tier.group("a", "boss", "r1")
    boss, sender = await tier.session("boss"), await tier.session("r1")
    tier.store.commits.shut = True
    tier.spawn(tier.groups.remove(boss, conv, ["r1"]), "remove")
    await tier.settle()
    assert (await refused_meanwhile(tier, sender, conv)).code is ErrorCode.NOT_FOUND


async def test_who_is_being_made_an_observer_sends_no_more(tier: LogicTier) -> None:
    conv = await tier.group("a", "boss", "r1")
    boss, sender = await tier.session("boss"), await tier.session("r1")
    tier.store.commits.shut = True
    tier.spawn(tier.groups.set_role(boss, conv, "r1", role=Role.OBSERVER), "demote")
    await tier.settle()
    await refused_meanwhile(tier, sender, conv)


async def test_who_was_removed_learns_that_an_earlier_send_is_stored(tier: LogicTier) -> None:
    conv = await tier.group("a", "boss", "r1")
    boss, sender = await tier.session("boss"), await tier.session("r1")
    first = await tier.send(sender, conv, cid="c")
    await tier.groups.remove(boss, conv, ["r1"])
    again = await tier.send(sender, conv, cid="c")
    assert (again.seq, again.dup) == (first.seq, True)
    assert (await refused(tier, sender, conv, cid="other")).code is ErrorCode.NOT_FOUND


async def test_a_send_to_a_group_that_has_ended_since_is_known_again(tier: LogicTier) -> None:
    conv = await tier.group("a", "boss", "r1")
    boss, sender = await tier.session("boss"), await tier.session("r1")
    first = await tier.send(sender, conv, cid="c")
    await tier.groups.delete(boss, conv)
    assert (await tier.send(sender, conv, cid="c")).seq == first.seq


async def test_an_edit_is_known_again_when_what_it_edits_has_gone(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    sender = await tier.session("r1")
    message = await tier.send(sender, conv)
    edit = await tier.send(sender, conv, "new", cid="c", kind="edit", ref=message.seq)
    await tier.store.trim(ConversationName(conv), message.seq + 1, limit=100)
    again = await tier.send(sender, conv, "new", cid="c", kind="edit", ref=message.seq)
    assert (again.seq, again.dup) == (edit.seq, True)


async def test_who_may_not_send_stores_nothing_by_asking(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    stranger = await tier.session("r2")
    await refused(tier, stranger, conv, cid="c")
    await refused(tier, stranger, "d/r1/r3", cid="c")
    group = await tier.store.conversation(ConversationName(conv))
    assert group is not None
    assert group.head == 1
    assert await tier.store.conversation(ConversationName("d/r1/r3")) is None


async def test_a_removal_that_was_not_possible_lets_the_robot_send_again(tier: LogicTier) -> None:
    conv = await tier.group("a", "boss", "r1")
    boss, sender = await tier.session("boss"), await tier.session("r1")
    tier.store.fails.append(StoreUnavailable("full"))
    with pytest.raises(Refusal):
        await tier.groups.remove(boss, conv, ["r1"])
    assert (await tier.send(sender, conv)).seq == 2


async def test_a_direct_line_exists_from_its_first_event(tier: LogicTier) -> None:
    one, other = await tier.session("r1"), await tier.session("r2")
    sent = await tier.send(one, "d/r1/r2", "hello")
    assert sent.seq == 1
    (event,) = peer_of(other).delivered("d/r1/r2")
    assert (event.sender, value(event.body)) == ("r1", "hello")
    assert (await tier.send(other, "d/r1/r2")).seq == 2


async def test_both_may_open_a_direct_line_at_once(tier: LogicTier) -> None:
    one, other = await tier.session("r1"), await tier.session("r2")
    tier.store.conversations_read.shut = True
    sends = [tier.spawn(tier.send(s, "d/r1/r2"), "send") for s in (one, other)]
    await tier.settle()
    tier.store.conversations_read.open()
    assert sorted([(await send).seq for send in sends]) == [1, 2]
    await tier.settle()
    assert peer_of(one).seqs("d/r1/r2") == peer_of(other).seqs("d/r1/r2") == [1, 2]


async def test_a_direct_line_to_a_robot_that_is_not_registered_is_refused(
    tier: LogicTier,
) -> None:
    sender = await tier.session("r1")
    refusal = await refused(tier, sender, "d/nobody/r1")
    assert refusal.code is ErrorCode.NOT_FOUND and "nobody" in refusal.message


@pytest.mark.parametrize("admin", [False, True])
async def test_nobody_writes_on_the_direct_line_of_others(tier: LogicTier, admin: bool) -> None:
    one = await tier.session("r1")
    await tier.store.enlist("r2")
    third = await tier.session("r3", admin=admin)
    assert (await refused(tier, third, "d/r1/r2")).code is ErrorCode.NOT_FOUND
    await tier.send(one, "d/r1/r2")
    assert (await refused(tier, third, "d/r1/r2")).code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("conv", ["", "g/", "d/r2/r1", "d/r1/r1", "x/y", "g/a/b"])
async def test_a_name_that_is_none_is_a_bad_frame(tier: LogicTier, conv: str) -> None:
    sender = await tier.session("r1")
    assert (await refused(tier, sender, conv)).code is ErrorCode.BAD_FRAME


@pytest.mark.parametrize("kind", sorted(SERVER_KINDS))
async def test_the_servers_own_kinds_are_forbidden(tier: LogicTier, kind: str) -> None:
    conv = await tier.group("a", "r1")
    sender = await tier.session("r1")
    assert (await refused(tier, sender, conv, kind=kind)).code is ErrorCode.FORBIDDEN


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"kind": "two words"}, ErrorCode.BAD_FRAME),
        ({"kind": "@kind"}, ErrorCode.BAD_FRAME),
        ({"kind": "stream"}, ErrorCode.UNSUPPORTED),
        ({"kind": "stream_end"}, ErrorCode.UNSUPPORTED),
        ({"cid": "@mine"}, ErrorCode.BAD_FRAME),
        ({"require": "all"}, ErrorCode.UNSUPPORTED),
        ({"targets": ["r2"]}, ErrorCode.UNSUPPORTED),
        ({"kind": "edit"}, ErrorCode.BAD_FRAME),
        ({"kind": "redact"}, ErrorCode.BAD_FRAME),
        ({"kind": "edit", "ref": 99}, ErrorCode.NOT_FOUND),
        ({"kind": "edit", "ref": 0}, ErrorCode.NOT_FOUND),
        ({"kind": "edit", "ref": 1}, ErrorCode.FORBIDDEN),
    ],
)
async def test_what_may_not_be_sent_says_why(
    tier: LogicTier, fields: dict[str, Any], code: ErrorCode
) -> None:
    conv = await tier.group("a", "r1")
    sender = await tier.session("r1")
    assert (await refused(tier, sender, conv, **fields)).code is code


async def test_any_other_kind_is_a_message(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    sender = await tier.session("r1")
    await tier.send(sender, conv, kind="command", ref=1)
    event = peer_of(sender).last(Deliver).events[-1]
    assert (event.kind, event.ref) == ("command", 1)


@pytest.mark.parametrize("kind", ["edit", "redact"])
async def test_ones_own_message_may_be_amended(tier: LogicTier, kind: str) -> None:
    conv = await tier.group("a", "boss", "r1")
    sender = await tier.session("r1")
    sent = await tier.send(sender, conv)
    assert (await tier.send(sender, conv, kind=kind, ref=sent.seq)).seq == 3


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN])
async def test_leaders_may_amend_the_messages_of_others(tier: LogicTier, role: Role) -> None:
    conv = await tier.group("a", "boss", "r1", "r2")
    boss, author, leader = [await tier.session(r) for r in ("boss", "r1", "r2")]
    await tier.groups.set_role(boss, conv, "r2", role=role)
    sent = await tier.send(author, conv)
    assert (await tier.send(leader, conv, kind="redact", ref=sent.seq)).seq == 4


async def test_a_leader_whose_demotion_is_on_its_way_amends_nothing_of_others_behind_it(
    tier: LogicTier,
) -> None:
    conv = await tier.group("a", "boss", "r1", "r2")
    boss, author, leader = [await tier.session(r) for r in ("boss", "r1", "r2")]
    await tier.groups.set_role(boss, conv, "r2", role=Role.ADMIN)
    sent, own = await tier.send(author, conv), await tier.send(leader, conv)
    tier.store.commits.shut = True
    demoting = tier.spawn(tier.groups.set_role(boss, conv, "r2", role=Role.MEMBER), "demote")
    await tier.settle()
    amending = tier.spawn(refused(tier, leader, conv, kind="edit", ref=sent.seq), "edit")
    amending_own = tier.spawn(tier.send(leader, conv, kind="edit", ref=own.seq), "edit")
    await tier.settle()
    tier.store.commits.open()
    demoted, refusal = await demoting, await amending
    tier.tasks.discard(amending)
    assert (refusal.code, refusal.retry_after_ms) == (ErrorCode.UNAVAILABLE, 500)
    assert (await amending_own).seq == demoted.seq + 1
    again = await refused(tier, leader, conv, kind="edit", ref=sent.seq)
    assert again.code is ErrorCode.FORBIDDEN


async def test_members_may_not_amend_the_messages_of_others(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    author, other = await tier.session("r1"), await tier.session("r2")
    sent = await tier.send(author, conv)
    refusal = await refused(tier, other, conv, kind="edit", ref=sent.seq)
    assert refusal.code is ErrorCode.FORBIDDEN


async def test_a_partner_may_not_amend_on_a_direct_line(tier: LogicTier) -> None:
    one, other = await tier.session("r1"), await tier.session("r2")
    await tier.send(one, "d/r1/r2")
    refusal = await refused(tier, other, "d/r1/r2", kind="edit", ref=1)
    assert refusal.code is ErrorCode.FORBIDDEN


async def test_an_amendment_cannot_be_amended(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    sender = await tier.session("r1")
    await tier.send(sender, conv)
    edit = await tier.send(sender, conv, kind="edit", ref=2)
    refusal = await refused(tier, sender, conv, kind="edit", ref=edit.seq)
    assert refusal.code is ErrorCode.FORBIDDEN


async def test_a_stranger_learns_nothing_through_an_amendment(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    stranger = await tier.session("r2")
    for ref in (1, 99):
        refusal = await refused(tier, stranger, conv, kind="edit", ref=ref)
        assert refusal.code is ErrorCode.NOT_FOUND and str(ref) not in refusal.message


async def test_an_admins_session_may_send_to_every_group(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    admin = await tier.session("r2", admin=True)
    assert (await tier.send(admin, conv)).seq == 2


async def test_an_overloaded_store_is_an_answer_not_a_silence() -> None:
    async with LogicTier(pending_bytes_max=10) as tier:
        conv = await tier.group("a", "r1")
        sender = await tier.session("r1")
        tier.store.commits.shut = True
        for _ in range(2):
            tier.spawn(tier.try_send(sender, conv, "x" * 20), "send")
            await tier.settle()
        answer = await tier.try_send(sender, conv)
        assert isinstance(answer, Error)
        assert answer.code is ErrorCode.UNAVAILABLE and answer.retry_after and not answer.fatal
        tier.store.commits.open()
        await tier.settle()


async def test_what_is_on_its_way_is_counted_down_whatever_becomes_of_it(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    sender = await tier.session("r1")
    held = tier.conversations.peek(conv)
    assert held is not None
    tier.store.fails.append(StoreUnavailable("full"))
    assert isinstance(await tier.try_send(sender, conv), Error)
    await tier.send(sender, conv)
    assert held.appending == 0
