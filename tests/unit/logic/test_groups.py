"""Groups: every change, who may make it, and changes that meet each other on their way."""

import asyncio
from typing import Any

import pytest

from imserver.core.errors import Refusal, StoreUnavailable
from imserver.core.model import Member
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Event, Role
from imserver.protocol.limits import Limits
from imserver.protocol.names import RobotName
from tests.unit.logic.logic_tier import LogicTier
from tests.unit.logic.recording_peer import value


async def refused(work: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await work
    return caught.value


async def members_of(tier: LogicTier, conv: str) -> dict[RobotName, Member]:
    """Return the members by the store, after checking that the node knows the same."""
    record = await tier.store.conversation(conv)  # type: ignore[arg-type]
    assert record is not None
    held = tier.conversations.peek(conv)
    if held is not None and held.members_complete:
        assert held.members == record.members, "the node knows what the store says"
    return record.members


async def roles_of(tier: LogicTier, conv: str) -> dict[str, str]:
    return {name: m.role.value for name, m in (await members_of(tier, conv)).items()}


def last_event(tier: LogicTier, conv: str) -> Event:
    return tier.store._logs[conv].events[-1]


async def staffed(tier: LogicTier) -> tuple[str, dict[str, Session]]:
    """Return a group with one robot of every role, and a session for each, and one for a stranger."""
    conv = await tier.group("a", "owner", "admin", "member", "observer")
    names = ("owner", "admin", "member", "observer", "stranger")
    sessions = {name: await tier.session(name) for name in names}
    await tier.groups.set_role(sessions["owner"], conv, "admin", role=Role.ADMIN)
    await tier.groups.set_role(sessions["owner"], conv, "observer", role=Role.OBSERVER)
    await tier.store.enlist("fresh", "fresh2")
    return conv, sessions


# Creating.


async def test_a_creator_owns_its_group_and_the_others_are_members(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2", "r3")
    assert await roles_of(tier, conv) == {"r1": "owner", "r2": "member", "r3": "member"}
    event = last_event(tier, conv)
    assert (event.seq, event.kind, event.sender) == (1, "group_created", "r1")
    assert value(event.body) == {
        "members": {"r1": "owner", "r2": "member", "r3": "member"},
        "open": False,
    }


async def test_a_creator_who_names_itself_owns_all_the_same(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r1", "r2", "r2")
    assert await roles_of(tier, conv) == {"r1": "owner", "r2": "member"}


async def test_a_name_is_used_once_and_for_all(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    assert (await refused(tier.group("a", "r2"))).code is ErrorCode.EXISTS
    await tier.groups.delete(await tier.session("r1"), conv)
    assert (await refused(tier.group("a", "r1"))).code is ErrorCode.EXISTS


@pytest.mark.parametrize("name", ["", "a b", "g/a", "a" * 65, "-a"])
async def test_a_group_needs_a_name_by_the_rule(tier: LogicTier, name: str) -> None:
    assert (await refused(tier.group(name, "r1"))).code is ErrorCode.BAD_FRAME


async def test_members_must_be_registered(tier: LogicTier) -> None:
    await tier.store.enlist("r1")
    refusal = await refused(tier.group("a", "r1", "ghost", enlist=False))
    assert refusal.code is ErrorCode.NOT_FOUND and "ghost" in refusal.message


async def test_a_group_has_a_largest_size() -> None:
    async with LogicTier(limits=Limits(members_max=2)) as tier:
        assert (await refused(tier.group("a", "r1", "r2", "r3"))).code is ErrorCode.TOO_LARGE
        conv = await tier.group("a", "r1", "r2")
        owner = await tier.session("r1")
        await tier.store.enlist("r3")
        work = tier.groups.add(owner, conv, ["r3"], role=Role.MEMBER)
        assert (await refused(work)).code is ErrorCode.TOO_LARGE


async def test_a_group_of_all_it_may_hold_with_its_creator_named_is_created() -> None:
    async with LogicTier(limits=Limits(members_max=2)) as tier:
        conv = await tier.group("a", "r1", "r1", "r2")
        assert set(await roles_of(tier, conv)) == {"r1", "r2"}


# Every operation against every role.

CALLS: dict[str, Any] = {
    "delete": lambda g, s, c: g.delete(s, c),
    "add": lambda g, s, c: g.add(s, c, ["fresh"], role=Role.MEMBER),
    "add an owner": lambda g, s, c: g.add(s, c, ["fresh"], role=Role.OWNER),
    "remove a member": lambda g, s, c: g.remove(s, c, ["member"]),
    "remove an owner": lambda g, s, c: g.remove(s, c, ["second"]),
    "set a role": lambda g, s, c: g.set_role(s, c, "member", role=Role.ADMIN),
    "appoint an owner": lambda g, s, c: g.set_role(s, c, "member", role=Role.OWNER),
    "demote an owner": lambda g, s, c: g.set_role(s, c, "second", role=Role.MEMBER),
}
OWNERS_ONLY = {
    "delete", "add an owner", "remove an owner", "appoint an owner", "demote an owner",
}  # fmt: skip


@pytest.mark.parametrize("who", ["owner", "admin", "member", "observer", "stranger"])
@pytest.mark.parametrize("call", CALLS)
async def test_a_change_takes_the_right_role(tier: LogicTier, call: str, who: str) -> None:
    conv, sessions = await staffed(tier)
    await tier.store.enlist("second")
    await tier.groups.add(sessions["owner"], conv, ["second"], role=Role.OWNER)
    seq = len(tier.store._logs[conv].events)
    work = CALLS[call](tier.groups, sessions[who], conv)
    if who == "owner" or (who == "admin" and call not in OWNERS_ONLY):
        changed = await work
        assert changed.seq == seq + 1
        await members_of(tier, conv)
    else:
        refusal = await refused(work)
        expected = ErrorCode.NOT_FOUND if who == "stranger" else ErrorCode.FORBIDDEN
        assert refusal.code is expected
        assert len(tier.store._logs[conv].events) == seq


async def test_an_admins_session_acts_as_an_owner_of_every_group(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    admin = await tier.session("boss", admin=True)
    await tier.store.enlist("r2")
    await tier.groups.add(admin, conv, ["r2"], role=Role.OWNER)
    await tier.groups.remove(admin, conv, ["r1"])
    assert await roles_of(tier, conv) == {"r2": "owner"}


# Adding, removing, roles.


async def test_adding_tells_who_came_with_which_role(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    await tier.groups.add(sessions["admin"], conv, ["fresh", "fresh2"], role=Role.OBSERVER)
    event = last_event(tier, conv)
    assert (event.kind, event.sender) == ("members_added", "admin")
    assert value(event.body) == {"robots": ["fresh", "fresh2"], "role": "observer"}


async def test_adding_leaves_out_who_is_a_member_already(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    await tier.groups.add(sessions["owner"], conv, ["admin", "fresh"], role=Role.MEMBER)
    roles = await roles_of(tier, conv)
    assert (roles["admin"], roles["fresh"]) == ("admin", "member")


async def test_adding_nobody_new_is_refused(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    work = tier.groups.add(sessions["owner"], conv, ["member"], role=Role.ADMIN)
    assert (await refused(work)).code is ErrorCode.EXISTS


async def test_removing_who_is_no_member_is_refused(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    work = tier.groups.remove(sessions["owner"], conv, ["member", "stranger"])
    assert (await refused(work)).code is ErrorCode.NOT_FOUND
    assert "member" in await roles_of(tier, conv)


async def test_a_change_of_role_keeps_since_when_one_is_a_member(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    await tier.groups.set_role(sessions["owner"], conv, "member", role=Role.ADMIN)
    member = (await members_of(tier, conv))[RobotName("member")]
    assert (member.role, member.since) == (Role.ADMIN, 1)
    event = last_event(tier, conv)
    assert (event.kind, value(event.body)) == (
        "role_changed",
        {"robot": "member", "role": "admin"},
    )


@pytest.mark.parametrize("name", ["a b", "", "-x"])
async def test_a_robot_needs_a_name_by_the_rule(tier: LogicTier, name: str) -> None:
    conv, sessions = await staffed(tier)
    for work in (
        tier.groups.add(sessions["owner"], conv, [name], role=Role.MEMBER),
        tier.groups.remove(sessions["owner"], conv, [name]),
        tier.groups.set_role(sessions["owner"], conv, name, role=Role.ADMIN),
    ):
        assert (await refused(work)).code is ErrorCode.BAD_FRAME


async def test_a_direct_line_has_no_members_to_change(tier: LogicTier) -> None:
    one = await tier.session("r1")
    await tier.store.enlist("r2", "r3")
    await tier.send(one, "d/r1/r2")
    for work in (
        tier.groups.add(one, "d/r1/r2", ["r3"], role=Role.MEMBER),
        tier.groups.leave(one, "d/r1/r2"),
        tier.groups.join(one, "d/r1/r2"),
        tier.groups.delete(one, "d/r1/r2"),
    ):
        assert (await refused(work)).code is ErrorCode.BAD_FRAME


# Joining and leaving.


async def test_anyone_may_join_an_open_group(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", is_open=True)
    await tier.groups.join(await tier.session("r2"), conv)
    assert (await roles_of(tier, conv))["r2"] == "member"


async def test_a_closed_group_looks_like_a_missing_one_to_who_would_join(tier: LogicTier) -> None:
    await tier.group("a", "r1")
    stranger = await tier.session("r2")
    closed = await refused(tier.groups.join(stranger, "g/a"))
    missing = await refused(tier.groups.join(stranger, "g/b"))
    assert closed.code is missing.code is ErrorCode.NOT_FOUND


async def test_joining_twice_is_refused(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", is_open=True)
    robot = await tier.session("r1")
    assert (await refused(tier.groups.join(robot, conv))).code is ErrorCode.EXISTS


async def test_an_ended_group_cannot_be_joined(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", is_open=True)
    await tier.groups.delete(await tier.session("r1"), conv)
    work = tier.groups.join(await tier.session("r2"), conv)
    assert (await refused(work)).code is ErrorCode.NOT_FOUND


async def test_a_member_may_leave_and_is_none_afterwards(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    await tier.groups.leave(sessions["observer"], conv)
    assert "observer" not in await roles_of(tier, conv)
    assert (await refused(tier.groups.leave(sessions["observer"], conv))).code is (
        ErrorCode.NOT_FOUND
    )


async def test_leaving_twice_at_once_is_one_event(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    seq = len(tier.store._logs[conv].events)
    results = await asyncio.gather(
        *(tier.groups.leave(sessions["member"], conv) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Changed", "Refusal"]
    assert len(tier.store._logs[conv].events) == seq + 1


# A group keeps an owner.


@pytest.mark.parametrize(
    "call",
    [
        lambda g, s, c: g.leave(s, c),
        lambda g, s, c: g.remove(s, c, ["owner"]),
        lambda g, s, c: g.remove(s, c, ["member", "owner"]),
        lambda g, s, c: g.set_role(s, c, "owner", role=Role.ADMIN),
        lambda g, s, c: g.set_role(s, c, "owner", role=Role.OBSERVER),
    ],
)
async def test_the_last_owner_stays(tier: LogicTier, call: Any) -> None:
    conv, sessions = await staffed(tier)
    refusal = await refused(call(tier.groups, sessions["owner"], conv))
    assert refusal.code is ErrorCode.CONFLICT and "owner" in refusal.message
    assert (await roles_of(tier, conv))["owner"] == "owner"


async def test_one_of_two_owners_may_go(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    await tier.groups.set_role(sessions["owner"], conv, "admin", role=Role.OWNER)
    await tier.groups.leave(sessions["owner"], conv)
    assert (await roles_of(tier, conv))["admin"] == "owner"


@pytest.mark.parametrize(
    "call",
    [
        lambda g, s, c, other: g.leave(s, c),
        lambda g, s, c, other: g.set_role(s, c, other, role=Role.MEMBER),
        lambda g, s, c, other: g.remove(s, c, [other]),
    ],
    ids=["both leave", "each demotes the other", "each removes the other"],
)
async def test_two_owners_who_act_at_once_do_not_leave_the_group_without(
    tier: LogicTier, call: Any
) -> None:
    conv, sessions = await staffed(tier)
    await tier.groups.set_role(sessions["owner"], conv, "admin", role=Role.OWNER)
    await asyncio.gather(
        call(tier.groups, sessions["owner"], conv, "admin"),
        call(tier.groups, sessions["admin"], conv, "owner"),
        return_exceptions=True,
    )
    assert list((await roles_of(tier, conv)).values()).count("owner") == 1


# Changes that meet each other on their way into the log.


async def test_a_change_of_role_does_not_bring_back_who_is_being_removed(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    results = await asyncio.gather(
        tier.groups.remove(sessions["owner"], conv, ["member"]),
        tier.groups.set_role(sessions["admin"], conv, "member", role=Role.OBSERVER),
        return_exceptions=True,
    )
    assert isinstance(results[1], Refusal)
    assert "member" not in await roles_of(tier, conv)


async def test_an_admin_who_is_being_removed_changes_nothing_any_more(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    results = await asyncio.gather(
        tier.groups.remove(sessions["owner"], conv, ["admin"]),
        tier.groups.add(sessions["admin"], conv, ["fresh"], role=Role.MEMBER),
        return_exceptions=True,
    )
    assert isinstance(results[1], Refusal)
    assert not {"admin", "fresh"} & set(await roles_of(tier, conv))


async def test_an_admin_who_was_demoted_while_it_asked_adds_nobody(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    tier.store.names_read.shut = True
    adding = tier.spawn(
        tier.groups.add(sessions["admin"], conv, ["fresh"], role=Role.MEMBER), "add"
    )
    await tier.settle()
    await tier.groups.set_role(sessions["owner"], conv, "admin", role=Role.MEMBER)
    tier.tasks.discard(adding)
    tier.store.names_read.open()
    assert (await refused(adding)).code is ErrorCode.FORBIDDEN


async def test_an_owner_who_was_demoted_while_it_asked_appoints_no_owner(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    await tier.groups.set_role(sessions["owner"], conv, "admin", role=Role.OWNER)
    tier.store.names_read.shut = True
    adding = tier.spawn(tier.groups.add(sessions["admin"], conv, ["fresh"], role=Role.OWNER), "add")
    await tier.settle()
    await tier.groups.set_role(sessions["owner"], conv, "admin", role=Role.ADMIN)
    tier.tasks.discard(adding)
    tier.store.names_read.open()
    assert (await refused(adding)).code is ErrorCode.FORBIDDEN


async def test_an_admin_whose_demotion_is_on_its_way_changes_nothing_behind_it(
    tier: LogicTier,
) -> None:
    conv, sessions = await staffed(tier)
    results = await asyncio.gather(
        tier.groups.set_role(sessions["owner"], conv, "admin", role=Role.MEMBER),
        tier.groups.remove(sessions["admin"], conv, ["member"]),
        return_exceptions=True,
    )
    assert isinstance(results[1], Refusal) and results[1].code is ErrorCode.CONFLICT
    assert "member" in await roles_of(tier, conv)


async def test_who_was_added_while_it_joined_keeps_the_role_it_was_given(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", is_open=True)
    owner, new = await tier.session("r1"), await tier.session("r2")
    tier.store.memberships_read.shut = True
    joining = tier.spawn(tier.groups.join(new, conv), "join")
    await tier.settle()
    await tier.groups.add(owner, conv, ["r2"], role=Role.OWNER)
    tier.tasks.discard(joining)
    tier.store.memberships_read.open()
    assert (await refused(joining)).code is ErrorCode.EXISTS
    assert (await roles_of(tier, conv))["r2"] == "owner"


async def test_of_two_changes_that_end_a_membership_one_may_fail_and_still_nothing_follows(
    tier: LogicTier,
) -> None:
    conv, sessions = await staffed(tier)
    admin = await tier.session("member", "desk", admin=True)
    tier.store.fails = [StoreUnavailable("not now")]
    tier.store.commits.shut = True
    leaving = []
    for session in (sessions["member"], admin):
        leaving.append(tier.spawn(tier.groups.leave(session, conv), "leave"))
        await tier.settle()
    tier.store.commits.let_one()
    await tier.settle()
    assert [task.done() for task in leaving] == [True, False]
    sending = tier.spawn(tier.try_send(sessions["member"], conv), "send")
    await tier.settle()
    tier.store.commits.open()
    tier.tasks.discard(leaving[0])
    assert (await refused(leaving[0])).code is ErrorCode.UNAVAILABLE
    assert (await sending).code is ErrorCode.NOT_FOUND
    await leaving[1]
    assert last_event(tier, conv).kind == "members_removed"
    held = tier.conversations.known(conv)
    assert held is not None and not held.revoking


async def test_nothing_follows_the_end_of_a_group(tier: LogicTier) -> None:
    conv, sessions = await staffed(tier)
    await asyncio.gather(
        tier.groups.delete(sessions["owner"], conv),
        tier.groups.add(sessions["admin"], conv, ["fresh"], role=Role.MEMBER),
        tier.try_send(sessions["member"], conv),
        return_exceptions=True,
    )
    assert last_event(tier, conv).kind == "group_deleted"


# Enrolment.


async def test_enrolment_adds_to_a_group_that_exists(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    await tier.groups.enrol(RobotName("r2"), [conv], token_id="token")
    assert await roles_of(tier, conv) == {"r1": "owner", "r2": "member"}


async def test_enrolment_creates_a_group_that_does_not_exist(tier: LogicTier) -> None:
    await tier.store.enlist("r1")
    await tier.groups.enrol(RobotName("r1"), ["g/a", "g/b"], token_id="token")
    assert await roles_of(tier, "g/a") == await roles_of(tier, "g/b") == {"r1": "owner"}


async def test_enrolling_again_changes_nothing(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    await tier.groups.enrol(RobotName("r1"), [conv], token_id="token")
    assert len(tier.store._logs[conv].events) == 1


async def test_two_robots_enrolled_at_once_share_the_new_group(tier: LogicTier) -> None:
    await tier.store.enlist("r1", "r2")
    tier.store.conversations_read.shut = True
    enrolling = [
        tier.spawn(tier.groups.enrol(RobotName(robot), ["g/a"], token_id="token"), "enrol")
        for robot in ("r1", "r2")
    ]
    await tier.settle()
    tier.store.conversations_read.open()
    await asyncio.gather(*enrolling)
    assert await roles_of(tier, "g/a") == {"r1": "owner", "r2": "member"}


@pytest.mark.parametrize("creator", ["boss", "r1"])
async def test_a_token_that_is_shown_again_brings_nobody_back(
    tier: LogicTier, creator: str
) -> None:
    boss = await tier.session("boss", admin=True)
    await tier.store.enlist("r1")
    if creator == "boss":
        await tier.group("a", "boss")
    await tier.groups.enrol(RobotName("r1"), ["g/a"], token_id="token")
    if creator == "r1":
        await tier.groups.add(boss, "g/a", ["boss"], role=Role.OWNER)
    await tier.groups.remove(boss, "g/a", ["r1"])
    await tier.groups.enrol(RobotName("r1"), ["g/a"], token_id="token")
    assert "r1" not in await roles_of(tier, "g/a")
    await tier.groups.enrol(RobotName("r1"), ["g/a"], token_id="another token")
    assert "r1" in await roles_of(tier, "g/a")


async def test_who_is_being_added_while_it_enrols_keeps_the_role_it_is_given(
    tier: LogicTier,
) -> None:
    conv, sessions = await staffed(tier)
    await asyncio.gather(
        tier.groups.add(sessions["owner"], conv, ["fresh"], role=Role.ADMIN),
        tier.groups.enrol(RobotName("fresh"), [conv], token_id="token"),
    )
    assert (await roles_of(tier, conv))["fresh"] == "admin"


async def test_enrolment_into_a_group_that_ended_is_passed_over(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    await tier.groups.delete(await tier.session("r1"), conv)
    await tier.groups.enrol(RobotName("r2"), [conv], token_id="token")
    assert await roles_of(tier, conv) == {}


async def test_who_is_being_added_as_an_owner_is_not_added_as_a_member_meanwhile(
    tier: LogicTier,
) -> None:
    conv, sessions = await staffed(tier)
    results = await asyncio.gather(
        tier.groups.add(sessions["owner"], conv, ["fresh"], role=Role.OWNER),
        tier.groups.add(sessions["admin"], conv, ["fresh"], role=Role.MEMBER),
        return_exceptions=True,
    )
    assert isinstance(results[1], Refusal)
    assert (await roles_of(tier, conv))["fresh"] == "owner"
