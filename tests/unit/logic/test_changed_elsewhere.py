"""What a robot asks for on one node while members are changed on another."""

import asyncio

import pytest

from imserver.core.errors import Refusal, StoreCorrupt, StoreUnavailable
from imserver.protocol.client_frames import History
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName, RobotName
from imserver.protocol.server_frames import Error

CONV = ConversationName("g/a")


async def test_who_is_removed_elsewhere_while_it_reads_a_page_gets_nothing_behind_that(nodes):
    await nodes.one.group("a", "r1", "r2")
    owner, gone = await nodes.one.session("r1"), await nodes.two.session("r2", auto=False)
    await nodes.settle()
    nodes.store.pages_before.shut = True
    reading = nodes.two.spawn(nodes.two.history.read(gone, History(1, CONV, after=0)), "history")
    await nodes.settle()
    nodes.bus.is_cut = True
    await nodes.one.groups.remove(owner, CONV, ["r2"])
    await nodes.one.send(owner, CONV, "secret")
    nodes.store.pages_before.open()
    assert [event.seq for event in await reading] == [1]
    with pytest.raises(Refusal) as caught:
        await nodes.two.history.read(gone, History(2, CONV, after=0))
    assert caught.value.code is ErrorCode.NOT_FOUND


async def test_a_page_shows_what_was_stored_elsewhere_unheard_or_is_unavailable(nodes):
    await nodes.one.group("a", "r1", "r2")
    first, second = await nodes.one.session("r1"), await nodes.two.session("r2", auto=False)

    async def seqs() -> list[int]:
        page = await nodes.two.history.read(second, History(1, CONV, after=0))
        return [event.seq for event in page]

    assert await seqs() == [1]
    nodes.bus.is_cut = True
    await nodes.one.send(first, CONV)
    nodes.store.heads_fail.append(StoreUnavailable("it is not known how far the log is"))
    with pytest.raises(StoreUnavailable):
        await seqs()
    nodes.store.page_fails.append(StoreUnavailable("what is missing here cannot be read"))
    with pytest.raises(StoreUnavailable):
        await seqs()
    assert await seqs() == [1, 2]


async def test_a_page_that_would_begin_with_damage_found_here_is_no_empty_page(nodes):
    await nodes.one.group("a", "r1", "r2")
    first, second = await nodes.one.session("r1"), await nodes.two.session("r2", auto=False)
    await nodes.settle()
    nodes.bus.is_cut = True
    await nodes.one.send(first, CONV)
    nodes.store.page_fails += [StoreCorrupt("event 2 is damaged")] * 2
    with pytest.raises(StoreCorrupt):
        await nodes.two.history.read(second, History(1, CONV, after=1))


async def test_who_is_added_elsewhere_while_it_enrols_keeps_the_role_it_was_given(nodes):
    await nodes.one.group("a", "r1")
    await nodes.store.enlist("r2")
    owner, may_commit = await nodes.one.session("r1"), asyncio.Event()
    nodes.two.committer.pause = may_commit.wait
    enrolling = nodes.two.spawn(
        nodes.two.groups.enrol(RobotName("r2"), [CONV], token_id="token"), "enrol"
    )
    await nodes.settle()
    await nodes.one.groups.add(owner, CONV, ["r2"], role=Role.ADMIN)
    may_commit.set()
    await enrolling
    record = await nodes.store.conversation(CONV)
    assert record.members[RobotName("r2")].role is Role.ADMIN


async def test_who_enrols_in_a_group_with_a_log_that_is_damaged_here_is_not_kept_waiting(nodes):
    await nodes.one.group("a", "r1", "r3")
    await nodes.store.enlist("r2")
    owner = await nodes.one.session("r1")
    await nodes.two.session("r3", auto=False)
    assert await nodes.two.conversations.load(CONV) is not None
    await nodes.settle()
    nodes.bus.is_cut = True
    await nodes.one.groups.remove(owner, CONV, ["r3"])
    nodes.store.page_fails += [StoreCorrupt("event 2 is damaged")] * 100
    with pytest.raises(Refusal) as caught:
        await nodes.two.groups.enrol(RobotName("r2"), [CONV], token_id="token")
    assert caught.value.code is ErrorCode.CONFLICT
    assert len(nodes.store.page_fails) > 90


async def test_who_sends_to_a_group_with_a_log_that_is_damaged_here_is_not_kept_waiting(nodes):
    await nodes.one.group("a", "r1", "r2", "r3")
    owner, sender = await nodes.one.session("r1"), await nodes.two.session("r2", auto=False)
    assert await nodes.two.conversations.load(CONV) is not None
    await nodes.settle()
    nodes.bus.is_cut = True
    await nodes.one.groups.remove(owner, CONV, ["r3"])
    nodes.store.page_fails += [StoreCorrupt("event 2 is damaged")] * 100
    error = await nodes.two.try_send(sender, CONV)
    assert isinstance(error, Error) and error.code is ErrorCode.UNAVAILABLE
    assert len(nodes.store.page_fails) > 90


async def test_who_is_removed_elsewhere_while_members_are_listed_sees_nothing_behind_that(nodes):
    await nodes.one.group("a", "r1", "r2")
    owner, gone = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.store.enlist("r3")
    await nodes.settle()
    nodes.store.cursors_before.shut = True
    work = nodes.two.listings.members(gone, CONV, after=None, limit=9)
    listing = nodes.two.spawn(work, "list")
    await nodes.settle()
    nodes.bus.is_cut = True
    await nodes.one.groups.remove(owner, CONV, ["r2"])
    await nodes.one.groups.add(owner, CONV, ["r3"], role=Role.MEMBER)
    nodes.one.sessions.ack(owner, CONV, 3)
    nodes.one.committer._on_flush_due()
    await nodes.settle()
    nodes.store.cursors_before.open()
    assert {row.robot: row.acked for row in await listing} == {"r1": 1, "r2": 0}
