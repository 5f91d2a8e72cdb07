"""Two nodes on one store behave as one, whatever the route between them loses."""

import asyncio
import functools
from collections.abc import Sequence

import msgspec
import pytest
from msgspec import Raw, structs

from imserver.core.errors import Refusal, StoreUnavailable
from imserver.core.model import Append, Created, Member, Membership, Outcome, Run
from imserver.logic.doubts import LOOKS, Doubts
from imserver.logic.session import Session
from imserver.protocol.client_frames import Position
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName, RobotName
from imserver.protocol.server_frames import PRESENCE_KEY, Deliver, Error, Sent, SignalValue
from tests.unit.logic.logic_tier import peer_of, plain
from tests.unit.logic.two_nodes import SharedStore, TwoNodes
from tests.until import PATIENCE_S

CONV = ConversationName("g/a")
LINE = ConversationName("d/r1/r2")


async def test_members_on_two_nodes_see_one_log(nodes):
    await nodes.one.group("a", "r1", "r2")
    first, second = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    for number in range(6):
        node, session = ((nodes.one, first), (nodes.two, second))[number % 2]
        await node.send(session, CONV, number)
    await nodes.settle()
    logs = [peer_of(session).delivered(CONV) for session in (first, second)]
    assert logs[0] == logs[1] and [event.seq for event in logs[0]] == list(range(1, 8))


async def test_what_the_route_loses_comes_with_the_next_hint(nodes):
    await nodes.one.group("a", "r1", "r2")
    first, second = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    nodes.bus.is_cut = True
    await nodes.one.send(first, CONV)
    nodes.bus.is_cut = False
    await nodes.settle()
    assert peer_of(second).seqs(CONV) == [1]
    await nodes.one.send(first, CONV)
    await nodes.settle()
    assert peer_of(second).seqs(CONV) == [1, 2, 3]


async def test_what_the_route_loses_comes_when_it_is_healed(nodes):
    await nodes.one.group("a", "r1", "r2")
    first, second = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    nodes.bus.is_cut = True
    await nodes.one.send(first, CONV)
    nodes.bus.heal()
    await nodes.settle()
    assert peer_of(second).seqs(CONV) == [1, 2]


async def test_a_direct_line_that_begins_elsewhere_at_the_same_moment_has_one_epoch(nodes):
    first, second = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    pair = {RobotName(name): Member(Role.MEMBER, 1) for name in ("r1", "r2")}
    nodes.two.conversations.begin(LINE, pair)  # as a send does that is on its way to the store
    nodes.bus.is_cut = True
    sent = await nodes.one.send(first, LINE)
    nodes.bus.heal()
    await nodes.settle()
    assert peer_of(second).seqs(LINE) == [1]
    assert {frame.epoch for frame in peer_of(second).of(Deliver)} == {sent.epoch}


async def test_who_is_added_on_another_node_receives_the_group_at_once(nodes):
    await nodes.one.group("a", "r1")
    owner, new = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    await nodes.one.groups.add(owner, CONV, ["r2"], role=Role.MEMBER)
    await nodes.one.send(owner, CONV)
    await nodes.settle()
    assert peer_of(new).seqs(CONV) == [2, 3]


async def test_who_was_added_unheard_receives_the_group_when_the_route_is_healed(nodes):
    await nodes.one.group("a", "r1")
    owner, new = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    nodes.bus.is_cut = True
    await nodes.one.groups.add(owner, CONV, ["r2"], role=Role.MEMBER)
    await nodes.settle()
    assert peer_of(new).seqs(CONV) == []
    nodes.bus.heal()
    await nodes.settle()
    assert peer_of(new).seqs(CONV) == [2]


async def added_unheard(nodes: TwoNodes) -> Session:
    """Add a robot to a group that its node does not hold, and return its session there, to which no notice
    comes."""
    await nodes.one.group("a", "r1")
    owner, new = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    nodes.bus.mute.add(nodes.bus.routers[0])
    await nodes.one.groups.add(owner, CONV, ["r2"], role=Role.MEMBER)
    await nodes.settle()
    assert peer_of(new).seqs(CONV) == []
    return new


async def test_what_a_node_could_not_tell_is_looked_for_when_it_can_again(nodes):
    new = await added_unheard(nodes)
    nodes.bus.mute.clear()
    nodes.one.router.listener.on_unheard()
    await nodes.settle()
    assert peer_of(new).seqs(CONV) == [2]


async def test_what_a_node_had_yet_to_tell_when_it_died_is_looked_for(nodes):
    new = await added_unheard(nodes)
    nodes.desks[1].on_gone()
    await nodes.settle()
    assert peer_of(new).seqs(CONV) == [2]


async def test_what_a_session_has_unfollowed_stays_so_when_all_is_compared(nodes):
    await nodes.one.group("a", "r1", "r2")
    session = await nodes.two.session("r2")
    await nodes.settle()
    nodes.two.sessions.unfollow(session, CONV)
    nodes.bus.heal()
    await nodes.settle()
    assert CONV not in session.readers
    nodes.two.sessions.follow(session, nodes.two.conversations.known(CONV), 1)
    assert CONV in session.readers and not session.unfollowed


async def test_who_is_added_while_all_is_compared_is_not_passed_over(nodes):
    await nodes.one.group("a", "r1")
    owner, new = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    nodes.bus.is_cut = True
    nodes.store.memberships_read.shut = True
    nodes.bus.heal()  # its memberships are read now, and the answer is on its way
    await nodes.settle()
    nodes.bus.is_cut = True
    await nodes.one.groups.add(owner, CONV, ["r2"], role=Role.MEMBER)
    nodes.bus.heal()
    nodes.store.memberships_read.open()
    await nodes.settle()
    assert peer_of(new).seqs(CONV) == [2]


@pytest.mark.parametrize("how", ["notice", "comparison"])
async def test_who_was_added_while_the_store_could_not_be_asked_receives_the_group_later(
    nodes, monkeypatch, how
):
    monkeypatch.setattr("imserver.logic.neighbours.RESYNC_EVERY_S", 0.01)
    await nodes.one.group("a", "r1")
    owner, new = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    nodes.bus.is_cut = how == "comparison"
    changing = nodes.one.spawn(
        nodes.one.groups.add(owner, CONV, ["r2"], role=Role.MEMBER), "adding"
    )
    while not len(nodes.store.calls) > 1:
        await asyncio.sleep(0)
    nodes.store.reads_fail.append(StoreUnavailable("not now"))
    await changing
    if how == "comparison":
        nodes.bus.is_cut = False
        nodes.two.router.listener.on_connected()
    await nodes.settle()
    assert not nodes.store.reads_fail and peer_of(new).seqs(CONV) == []
    nodes.two.spawn(nodes.neighbours[1].run(), "neighbours")
    while not peer_of(new).seqs(CONV):
        await asyncio.sleep(0.001)
    assert peer_of(new).seqs(CONV) == [2]


@pytest.mark.parametrize("what", ["added", "created", "line"])
async def test_what_was_stored_without_an_answer_is_told_all_the_same(nodes, monkeypatch, what):
    monkeypatch.setattr("imserver.logic.doubts.LOOK_EVERY_S", 0.001)
    owner, new = await nodes.one.session("r1"), await nodes.two.session("r2")
    if what == "added":
        await nodes.one.group("a", "r1")
    await nodes.settle()
    nodes.store.unanswered = 3  # the look for it ends without one, too
    if what == "line":
        assert isinstance(await nodes.one.try_send(owner, LINE), Error)
    else:
        change = (
            nodes.one.groups.add(owner, CONV, ["r2"], role=Role.MEMBER)
            if what == "added"
            else nodes.one.group("a", "r1", "r2")
        )
        with pytest.raises(Refusal) as caught:
            await change
        assert caught.value.code is ErrorCode.UNAVAILABLE
    conv, seq = (LINE, 1) if what == "line" else (CONV, 2 if what == "added" else 1)
    await nodes.settle()
    assert peer_of(new).seqs(conv) == []
    nodes.one.spawn(nodes.neighbours[0].run(), "neighbours")
    while not peer_of(new).seqs(conv):
        await asyncio.sleep(0.001)
    assert peer_of(new).seqs(conv) == [seq]
    await nodes.settle()
    assert peer_of(owner).seqs(conv) == list(range(1, seq + 1))
    assert not len(nodes.neighbours[0]._doubts)


async def test_an_event_that_was_never_stored_is_looked_for_in_vain_and_given_up(monkeypatch):
    monkeypatch.setattr("imserver.logic.doubts.LOOK_EVERY_S", 0.001)
    store, announced = SharedStore(), list[Run]()
    await store.append([structs.replace(plain(CONV, "c0"), change=Created({}, open=False))])
    doubts = Doubts(store)
    doubts.announce = announced.append
    doubts.note(plain(CONV, "c1"))
    calls = len(store.calls)
    looking = asyncio.create_task(doubts.run())
    while len(doubts):
        await asyncio.sleep(0.001)
    looking.cancel()
    assert len(store.calls) - calls == len(LOOKS) and not announced
    assert store._logs[CONV].head == 1


async def test_a_last_look_that_fails_half_way_is_not_the_last(monkeypatch):
    monkeypatch.setattr("imserver.logic.doubts.LOOK_EVERY_S", 0.001)
    monkeypatch.setattr("imserver.logic.doubts._TOGETHER_MAX", 1)

    class Failing(SharedStore):
        async def append(self, events: Sequence[Append]) -> list[Outcome]:
            outcomes = await super().append(events)
            if len(self.calls) == 2 * len(LOOKS) - 1:
                raise StoreUnavailable("it is away")
            return outcomes

    store = Failing()
    doubts = Doubts(store)
    doubts.note(plain(CONV, "c1"))
    doubts.note(plain(CONV, "c2"))
    looking = asyncio.create_task(doubts.run())
    while len(doubts):
        await asyncio.sleep(0.001)
    looking.cancel()
    assert len(store.calls) > 2 * len(LOOKS)


@pytest.mark.parametrize("patience", [1, 10_000])
async def test_who_reads_less_than_it_was_told_reads_again(nodes, monkeypatch, patience):
    monkeypatch.setattr("imserver.logic.neighbours.LOAD_AGAIN_AFTER_S", (0.001,) * patience)
    monkeypatch.setattr("imserver.logic.neighbours.RESYNC_EVERY_S", 0.001)
    await nodes.one.group("a", "r1")
    owner, new = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    nodes.store.shown = await nodes.store.conversation(CONV)
    await nodes.one.groups.add(owner, CONV, ["r2"], role=Role.MEMBER)
    await nodes.settle()
    while patience == 1 and not nodes.neighbours[1]._looks_again:
        await asyncio.sleep(0.001)
    assert peer_of(new).seqs(CONV) == []
    nodes.store.shown = None
    if patience == 1:
        nodes.two.spawn(nodes.neighbours[1].run(), "neighbours")
    while not peer_of(new).seqs(CONV):
        await asyncio.sleep(0.001)
    assert peer_of(new).seqs(CONV) == [2]


async def test_all_is_compared_once_more_after_the_route_was_healed(nodes, monkeypatch):
    monkeypatch.setattr("imserver.logic.neighbours.RESYNC_EVERY_S", 0.001)
    new = await added_unheard(nodes)
    nodes.store.memberships_read.shut = True
    memberships, nodes.store.memberships = nodes.store.memberships, _none  # as it was a moment ago
    nodes.bus.mute.clear()
    nodes.one.router.listener.on_unheard()
    await nodes.settle()
    nodes.store.memberships = memberships
    nodes.store.memberships_read.open()
    assert peer_of(new).seqs(CONV) == []
    nodes.two.spawn(nodes.neighbours[1].run(), "neighbours")
    while not peer_of(new).seqs(CONV):
        await asyncio.sleep(0.001)


async def _none(*_: object) -> list[Membership]:
    return []


async def test_a_new_direct_line_reaches_the_other_robots_node(nodes):
    first, second = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.one.send(first, LINE)
    await nodes.settle()
    assert peer_of(second).seqs(LINE) == [1]
    await nodes.two.send(second, LINE)
    await nodes.settle()
    assert peer_of(first).seqs(LINE) == peer_of(second).seqs(LINE) == [1, 2]


async def test_who_is_removed_on_another_node_gets_nothing_more_and_sends_nothing(nodes):
    await nodes.one.group("a", "r1", "r2")
    owner, gone = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    await nodes.one.groups.remove(owner, CONV, ["r2"])
    await nodes.one.send(owner, CONV)
    await nodes.settle()
    assert peer_of(gone).seqs(CONV) == [1, 2]
    refused = await nodes.two.try_send(gone, CONV)
    assert isinstance(refused, Error) and refused.code == ErrorCode.NOT_FOUND


async def test_who_is_removed_elsewhere_while_it_comes_in_receives_nothing_more(nodes):
    await nodes.one.group("a", "r1", "r2", "r3")
    owner = await nodes.one.session("r1")
    await nodes.settle()
    nodes.store.memberships_read.shut = True
    late = nodes.two.spawn(nodes.two.session("r2"), "late")
    await nodes.settle()  # what it is a member of was read, and is on its way
    await nodes.one.groups.remove(owner, CONV, ["r2"])
    other = nodes.two.spawn(nodes.two.session("r3"), "other")
    await nodes.settle()
    nodes.store.memberships_read.let_one(1)
    await other  # from now on node two holds the group as it is behind the removal
    nodes.store.memberships_read.open()
    gone = await late
    await nodes.one.send(owner, CONV)
    await nodes.settle()
    assert CONV not in gone.readers and peer_of(gone).seqs(CONV) == []


async def test_who_was_added_unheard_may_send(nodes):
    """A node whose members are outdated asks the store before it refuses anybody."""
    await nodes.one.group("a", "r1", "r3")
    owner, other = await nodes.one.session("r1"), await nodes.two.session("r3")
    new = await nodes.two.session("r2", auto=False)
    await nodes.two.send(other, CONV)  # the conversation is held there, with all its members
    await nodes.settle()
    nodes.bus.is_cut = True
    await nodes.one.groups.add(owner, CONV, ["r2"], role=Role.MEMBER)
    assert isinstance(await nodes.two.try_send(new, CONV), Sent)


async def test_an_event_that_another_node_stored_unheard_may_be_referred_to(nodes):
    await nodes.one.group("a", "r1", "r2")
    first, second = await nodes.one.session("r1"), await nodes.two.session("r2")
    await nodes.settle()
    nodes.bus.is_cut = True
    sent = await nodes.one.send(first, CONV)
    answer = await nodes.two.send(second, CONV, ref=sent.seq)
    assert answer.seq == sent.seq + 1


async def test_a_device_that_comes_back_on_another_node_ends_its_old_session(nodes):
    old = await nodes.one.session("r1")
    nodes.clock.ms += 5
    new = await nodes.two.session("r1")
    await nodes.settle()
    assert peer_of(old).closed is not None and peer_of(old).closed[0] == CloseCode.REPLACED
    assert peer_of(new).closed is None
    assert RobotName("r1") not in nodes.one.sessions.by_robot


async def test_a_node_whose_clock_is_behind_takes_devices_over_all_the_same(nodes):
    nodes.one.clock.ms -= 3_600_000
    old = await nodes.two.session("r1")
    nodes.clock.ms += 5
    new = await nodes.one.session("r1")
    await nodes.settle()
    assert peer_of(old).closed is not None and peer_of(old).closed[0] == CloseCode.REPLACED
    assert peer_of(new).closed is None


async def test_of_two_sessions_that_did_not_hear_of_each_other_one_is_left(nodes):
    nodes.bus.is_cut = True
    sessions = [await nodes.one.session("r1"), await nodes.two.session("r1")]
    await nodes.settle()
    assert [peer_of(session).closed for session in sessions] == [None, None]
    nodes.bus.heal()
    await nodes.settle()
    assert [peer_of(session).closed is None for session in sessions].count(True) == 1


async def test_a_robot_is_online_while_any_node_holds_it(nodes):
    await nodes.one.group("a", "r1", "r2")
    watcher = await nodes.one.session("r2")
    arm = await nodes.one.session("r1", "arm")
    leg = await nodes.two.session("r1", "leg")
    await nodes.settle()
    rows = await nodes.one.listings.members(watcher, CONV, after=None, limit=10)
    assert [row.online for row in rows] == [True, True]
    nodes.one.sessions.close(arm, "clean")
    await nodes.settle()
    rows = await nodes.one.listings.members(watcher, CONV, after=None, limit=10)
    assert [row.online for row in rows] == [True, True]
    nodes.two.sessions.close(leg, "clean")
    await nodes.settle()
    rows = await nodes.one.listings.members(watcher, CONV, after=None, limit=10)
    assert [(row.robot, row.online) for row in rows] == [("r1", False), ("r2", True)]


async def test_who_is_told_to_be_offline_and_is_not_is_told_to_be_online(nodes):
    """As when a node was only slow, and is buried; or one has not yet heard where a robot has gone."""
    await nodes.one.group("a", "r1", "r2")
    watcher = await nodes.one.session("r2")
    await nodes.two.session("r1")
    await until_told(watcher, [True])
    nodes.desks[0].elsewhere = nobody
    assert await nodes.desks[0].on_lost([RobotName("r1")])
    await until_told(watcher, [True, False, True])


async def test_presence_that_cannot_be_read_is_passed_over(nodes):
    await nodes.one.group("a", "r1", "r2")
    watcher = await nodes.one.session("r2")
    await nodes.one.session("r1")
    await until_told(watcher, [True])
    nodes.one.intake.on_signal(SignalValue(CONV, "r1", PRESENCE_KEY, Raw(b"\xa1?"), 1 << 60))
    assert len(peer_of(watcher).of(SignalValue)) == 2


async def test_hints_that_begin_to_arrive_of_what_was_let_go_count_for_nothing(nodes):
    followings = nodes.neighbours[0]._followings
    followings.held(CONV)
    followings.dropped(CONV)
    await nodes.settle()
    asked = nodes.store.heads_asked
    followings.on_followed(CONV)
    await nodes.settle()
    assert nodes.store.heads_asked == asked and not followings._arrive


async def test_a_robot_that_leaves_two_nodes_at_one_moment_is_told_to_be_offline(nodes):
    """Each asks for it elsewhere only once the other one could see that it is not here any more."""
    await nodes.one.group("a", "r1", "r2")
    watcher = await nodes.one.session("r2")
    arm = await nodes.one.session("r1", "arm")
    leg = await nodes.two.session("r1", "leg")
    await until_told(watcher, [True, True])
    seen = [set(desk.here) for desk in nodes.desks]  # what is written of them, not what they know

    async def elsewhere(which, *, other):
        return set(which) & seen[other]

    async def settled(*, own):
        await asyncio.sleep(0)
        seen[own] = set(nodes.desks[own].here)

    for own, desk in enumerate(nodes.desks):
        desk.elsewhere = functools.partial(elsewhere, other=1 - own)
        desk.settled = functools.partial(settled, own=own)
    nodes.one.sessions.close(arm, "lost")
    nodes.two.sessions.close(leg, "lost")
    async with asyncio.timeout(PATIENCE_S):
        while is_online(peer_of(watcher).of(SignalValue)[-1]):
            await asyncio.sleep(0.001)


async def test_those_who_leave_are_told_before_it_is_said_that_they_are(nodes):
    await nodes.one.group("a", "r1", "r2")
    watcher = await nodes.two.session("r2")
    leaving = await nodes.one.session("r1")
    await until_told(watcher, [True])
    nodes.one.sessions.close(leaving, "clean")
    await nodes.one.sessions._presence.wait_told()
    assert not is_online(peer_of(watcher).of(SignalValue)[-1])


async def nobody(_robots):
    return set()


async def until_told(watcher: Session, wanted: list[bool]) -> None:
    """Return when a session was told this, one after the other, of whether the other robot is online."""
    async with asyncio.timeout(PATIENCE_S):
        while [is_online(each) for each in peer_of(watcher).of(SignalValue)] != wanted:
            await asyncio.sleep(0.001)


def is_online(signal: SignalValue) -> bool:
    told: bool = msgspec.msgpack.decode(signal.body)["online"]
    return told


async def test_whether_many_that_leave_at_once_are_elsewhere_is_asked_together(nodes):
    robots = [f"m{number}" for number in range(100)]
    sessions = [await nodes.one.session(robot) for robot in robots]
    moved = await nodes.two.session("m7", "other")
    await nodes.settle()
    asked: list[int] = []
    elsewhere = nodes.desks[0].elsewhere

    async def counted(which):
        asked.append(len(which))
        await asyncio.sleep(0)
        return await elsewhere(which)

    nodes.desks[0].elsewhere = counted
    gone: list[str] = []
    nodes.one.presence.went = lambda session, how: gone.append(session.robot)
    for session in sessions:
        nodes.one.sessions.close(session, "clean")
    await nodes.settle()
    assert asked == [100]
    assert sorted(gone) == sorted(set(robots) - {moved.robot})


async def test_a_reader_that_another_node_has_brought_further_begins_there(nodes):
    await nodes.one.group("a", "r1", "r2")
    owner = await nodes.one.session("r1")
    await nodes.two.conversations.load(CONV)  # which holds it from now on, at its first event
    nodes.bus.is_cut = True
    for _ in range(3):
        await nodes.one.send(owner, CONV)
    later = await nodes.two.session("r2", resume={CONV: Position(nodes.store._epoch, 4)})
    await nodes.settle()
    assert peer_of(later).closed is None and peer_of(later).seqs(CONV) == []
    nodes.bus.heal()
    await nodes.one.send(owner, CONV)
    await nodes.settle()
    assert peer_of(later).seqs(CONV) == [5]
