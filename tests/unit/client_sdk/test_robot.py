"""Robots that talk through the server in memory."""

import asyncio
import contextlib

import pytest

from client_sdk import (
    ConnectionLost,
    ErrorCode,
    Event,
    Gap,
    MissedEvents,
    NoAnswer,
    Options,
    OutcomeUnknown,
    Refused,
    Robot,
    RobotKey,
    Role,
    State,
    StayAway,
)
from client_sdk.testing import MemoryServer
from imserver.protocol.limits import Limits
from tests.until import until

QUICK = Options(backoff_base_s=0.001, backoff_cap_s=0.01, connect_timeout_s=5.0)


@pytest.fixture
def server():
    return MemoryServer()


@pytest.fixture
def dock(server):
    return server.add_group("dock", ["r1", "r2"])


async def take(robot, count):
    """Read ``count`` events and say that they are done."""
    taken = []
    stream = robot.events()
    while len(taken) < count:
        taken.append(await anext(stream))
    robot.done(taken[-1])
    return taken


def bodies(events):
    return [event.body for event in events if event.kind == "message"]


async def test_what_one_sends_the_other_receives_and_so_does_the_sender(server, dock):
    async with server.robot("r1") as r1, server.robot("r2") as r2:
        sent = await r1.send(dock, {"task": "pick"})
        (_, mine), (_, theirs) = await take(r1, 2), await take(r2, 2)
    assert mine == theirs
    assert (theirs.seq, theirs.sender, theirs.body) == (sent.seq, "r1", {"task": "pick"})


async def test_sends_under_way_at_once_are_all_stored(server, dock):
    async with server.robot("r1") as r1, asyncio.TaskGroup() as group:
        tasks = [group.create_task(r1.send(dock, n)) for n in range(500)]
    assert sorted(task.result().seq for task in tasks) == list(range(2, 502))
    assert len(server.log(dock)) == 501


async def test_a_direct_line_needs_no_creation(server):
    async with server.robot("r1") as r1, server.robot("r2") as r2:
        await r1.send(r1.direct("r2"), "hello")
        (event,) = await take(r2, 1)
    assert (event.conv, event.body) == ("d/r1/r2", "hello")


async def test_a_send_whose_answer_was_lost_is_stored_once(server, dock):
    async with server.robot("r1", options=QUICK) as r1:
        server.lose_answers(2)
        sent = await r1.send(dock, "once")
        assert sent.dup
        assert r1.statistics().resent == 2
    assert bodies(server.log(dock)) == ["once"]


async def test_the_same_cid_gets_the_same_place(server, dock):
    async with server.robot("r1") as r1:
        first = await r1.send(dock, 1, cid="mine")
        again = await r1.send(dock, 1, cid="mine")
    assert (again.seq, again.dup) == (first.seq, True)


async def test_the_same_cid_for_another_body_is_a_conflict(server, dock):
    async with server.robot("r1") as r1:
        await r1.send(dock, 1, cid="mine")
        with pytest.raises(Refused) as caught:
            await r1.send(dock, 2, cid="mine")
    assert caught.value.code is ErrorCode.CONFLICT


async def test_a_send_to_a_group_one_is_not_in_is_refused(server, dock):
    async with server.robot("r3") as r3:
        with pytest.raises(Refused) as caught:
            await r3.send(dock, 1)
    assert caught.value.code is ErrorCode.NOT_FOUND


async def test_a_refusal_that_passes_is_waited_out(server, dock):
    server.refuse_sends(Refused(ErrorCode.UNAVAILABLE, "wait", 5))
    async with server.robot("r1") as r1:
        await r1.send(dock, "late")
    assert bodies(server.log(dock)) == ["late"]


async def test_a_send_that_cannot_go_out_ends_as_unknown_and_may_be_sent_again(server, dock):
    async with server.robot("r1", options=QUICK) as r1:
        server.reachable = False
        server.cut_connections()
        with pytest.raises(OutcomeUnknown) as caught:
            await r1.send(dock, "x", timeout_s=0.02)
        server.reachable = True
        await r1.send(dock, "x", cid=caught.value.cid)
    assert bodies(server.log(dock)) == ["x"]


async def test_a_question_that_is_not_answered_says_so(server):
    options = Options(request_timeout_s=0.02, backoff_base_s=0.001)
    async with server.robot("r1", options=options) as r1:
        server.reachable = False
        server.cut_connections()
        with pytest.raises(NoAnswer):
            await r1.groups()


async def test_a_caller_that_gives_up_leaves_nothing_behind(server, dock):
    async with server.robot("r1", options=QUICK) as r1:
        server.reachable = False
        server.cut_connections()
        await until(lambda: r1.state is not State.ONLINE, step_s=0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await r1.send(dock, "x")
        assert r1.statistics().pending == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"conv": "dock"}, "g/<group>"),
        ({"conv": "g/bad name"}, "must be"),
        ({"cid": ""}, "cid"),
        ({"cid": "@mine"}, "server's"),
        ({"cid": "x" * 65}, "1 to 64"),
        ({"kind": ""}, "kind"),
        ({"ref": 0}, "from 1 on"),
    ],
)
async def test_what_the_caller_got_wrong_is_a_value_error(server, dock, arguments, problem):
    async with server.robot("r1") as r1:
        with pytest.raises(ValueError, match=problem):
            await r1.send(**{"conv": dock, "body": 1, **arguments})
    assert bodies(server.log(dock)) == []


async def test_a_body_over_the_servers_limit_is_refused_and_the_connection_kept():
    server = MemoryServer(Limits(body_bytes_max=100))
    conv = server.add_group("dock", ["r1"])
    async with server.robot("r1") as r1:
        with pytest.raises(Refused) as caught:
            await r1.send(conv, "x" * 101)
        assert caught.value.code is ErrorCode.TOO_LARGE
        await r1.send(conv, "x" * 90)
        assert r1.statistics().connections == 1


async def test_an_event_is_acked_when_the_loop_comes_round(server, dock):
    server.post(dock, "work", sender="r2")
    async with server.robot("r1") as r1:
        async for event in r1.events():
            assert server.acked("r1", dock) < event.seq
            if event.seq == 2:
                break
        r1.done(event)
    assert server.acked("r1", dock) == 2


async def test_an_event_that_one_breaks_at_comes_again_to_the_next_process(server, dock):
    async with server.robot("r1") as r1:
        async for _ in r1.events():
            break
    async with server.robot("r1") as r1:
        (event,) = await take(r1, 1)
    assert event.seq == 1


async def test_a_loop_goes_on_where_the_one_before_stopped(server, dock):
    server.post(dock, "second", sender="r2")
    async with server.robot("r1") as r1:
        first = await anext(r1.events())
        second = await anext(r1.events())
    assert (first.seq, second.seq) == (1, 2)


async def test_a_second_loop_takes_over_and_the_first_is_told(server, dock):
    async with server.robot("r1") as r1:
        first = r1.events()
        await anext(first)
        waiting = asyncio.create_task(anext(first))
        await asyncio.sleep(0)
        second = asyncio.create_task(anext(r1.events()))
        with pytest.raises(RuntimeError, match="one at a time"):
            await waiting
        server.post(dock, "for the second", sender="r2")
        assert (await second).body == "for the second"


async def test_a_robot_that_was_away_gets_exactly_what_it_missed(server, dock):
    async with server.robot("r1") as r1:
        await take(r1, 1)
    for n in range(3000):
        server.post(dock, n, sender="r2")
    async with server.robot("r1") as r1:
        missed = await take(r1, 3000)
        server.post(dock, "live", sender="r2")
        (live,) = await take(r1, 1)
    assert [event.seq for event in missed] == list(range(2, 3002))
    assert (live.seq, live.body) == (3002, "live")


async def test_reconnects_neither_skip_nor_repeat(server, dock):
    async with server.robot("r1", options=QUICK) as r1:
        seen = []
        stream = r1.events()
        for n in range(200):
            server.post(dock, n, sender="r2")
            if n % 7 == 0:
                server.cut_connections()
            if n % 2 == 0:
                seen.append(await anext(stream))
        while len(seen) < 201:
            seen.append(await anext(stream))
        assert r1.statistics().connections > 3
    assert [event.seq for event in seen] == list(range(1, 202))


async def test_events_that_nobody_takes_are_bounded_by_the_window(server, dock):
    async with server.robot("r1", options=Options(window=10)) as r1:
        for n in range(100):
            server.post(dock, n, sender="r2")
        await r1.ping()
        assert r1.statistics().queued == 10
        events = await take(r1, 101)
    assert [event.seq for event in events] == list(range(1, 102))


async def test_a_gap_is_an_error_unless_it_is_asked_for(server, dock):
    for n in range(5):
        server.post(dock, n, sender="r2")
    server.forget_events(dock, 4)
    async with server.robot("r1") as r1:
        with pytest.raises(MissedEvents, match="1 to 4 of g/dock") as caught:
            await anext(r1.events())
        assert caught.value.gap == Gap(dock, "memory", 1, 4, "retention", 4)
        assert (await anext(r1.events())).seq == 5


async def test_a_gap_that_is_asked_for_stands_in_its_place(server, dock):
    server.post(dock, 1, sender="r2")
    server.forget_events(dock, 1)
    async with server.robot("r1") as r1:
        stream = r1.events(gaps=True)
        assert isinstance(await anext(stream), Gap)
        assert isinstance(await anext(stream), Event)


async def test_a_robot_that_is_added_receives_the_group_from_then_on(server, dock):
    async with server.robot("r1") as r1, server.robot("r3") as r3:
        await r1.send(dock, "before")
        seq = await r1.add_members(dock, ["r3"])
        await r1.send(dock, "after")
        added, after = await take(r3, 2)
    assert (added.seq, added.kind, after.body) == (seq, "members_added", "after")


async def test_groups_are_made_changed_and_ended(server):
    async with server.robot("r1") as r1, server.robot("r2") as r2, server.robot("r3") as r3:
        conv = await r1.create_group("g/yard", ["r2"], open=True)
        await r3.join(conv)
        await r1.set_role(conv, "r2", Role.OBSERVER)
        assert {row.robot: row.role for row in await r1.members(conv)} == {
            "r1": Role.OWNER,
            "r2": Role.OBSERVER,
            "r3": Role.MEMBER,
        }
        with pytest.raises(
            ValueError, match="'king' must be one of owner, admin, member, observer"
        ):
            await r1.set_role(conv, "r2", "king")
        with pytest.raises(Refused, match="observer"):
            await r2.send(conv, "may I?")
        await r3.leave(conv)
        await r1.remove_members(conv, ["r2"])
        assert [row.members for row in await r1.groups()] == [1]
        await r1.delete_group(conv)
        assert await r1.groups() == []
    kinds = [event.kind for event in server.log(conv)]
    assert kinds[0] == "group_created"
    assert kinds[-1] == "group_deleted"


async def test_a_group_that_exists_is_not_made_again(server, dock):
    async with server.robot("r1") as r1:
        with pytest.raises(Refused) as caught:
            await r1.create_group("dock")
    assert caught.value.code is ErrorCode.EXISTS


async def test_lists_longer_than_a_page_come_whole():
    server = MemoryServer(Limits(page_max=3))
    async with server.robot("r1") as r1:
        for n in range(8):
            await r1.create_group(f"g{n}")
        assert [row.conv for row in await r1.groups()] == [f"g/g{n}" for n in range(8)]


async def test_history_reads_both_ways(server, dock):
    for n in range(10):
        server.post(dock, n, sender="r2")
    async with server.robot("r1") as r1:
        forwards = await r1.history(dock, after=2, limit=3)
        backwards = await r1.history(dock, before=11, limit=3)
    assert [event.seq for event in forwards] == [3, 4, 5]
    assert [event.seq for event in backwards] == [8, 9, 10]
    assert forwards[0] == server.log(dock)[2]


async def test_edits_and_redactions_are_folded_into_messages(server, dock):
    async with server.robot("r1") as r1:
        one = await r1.send(dock, "one")
        two = await r1.send(dock, "two")
        await r1.edit(dock, one.seq, "ONE")
        await r1.redact(dock, two.seq)
        shown = await r1.history(dock, after=1, view="messages")
    assert [event.body for event in shown] == ["ONE", None]


async def test_of_a_signal_the_latest_value_arrives(server, dock):
    async with server.robot("r1") as r1, server.robot("r2") as r2:
        for charge in (90, 80, 70):
            r1.signal(dock, "battery", charge)
        await r1.ping()
        signals = r2.signals()
        signal = await anext(signals)
        while signal.key != "battery":
            signal = await anext(signals)
    assert (signal.sender, signal.body) == ("r1", 70)


async def test_presence_arrives_as_a_signal(server, dock):
    async with server.robot("r1") as r1:
        async with server.robot("r2"):
            signals = r1.signals()
            came = await anext(signals)
        went = await anext(signals)
    assert (came.sender, came.key, came.body["online"]) == ("r2", "@presence", True)
    assert went.body["online"] is False


async def test_without_auto_only_what_is_followed_arrives(server, dock):
    server.post(dock, "old", sender="r2")
    options = Options(auto=False, backoff_base_s=0.001)
    async with server.robot("r1", options=options) as r1:
        assert await r1.follow(dock) == 2
        server.post(dock, "new", sender="r2")
        (event,) = await take(r1, 1)
        server.cut_connections()
        server.post(dock, "newer", sender="r2")
        (again,) = await take(r1, 1)
        await r1.unfollow(dock)
        server.post(dock, "unseen", sender="r2")
        await r1.ping()
        assert r1.statistics().queued == 0
    assert (event.body, again.body) == ("new", "newer")


async def test_following_from_an_earlier_place_reads_again(server, dock):
    async with server.robot("r1") as r1:
        await take(r1, 1)
        await r1.follow(dock, after=0)
        (event,) = await take(r1, 1)
    assert event.seq == 1


async def test_whoami_and_ping(server):
    async with server.robot("r1", device="cam") as r1:
        me = await r1.whoami()
        reading = await r1.ping()
    assert (me.robot, me.device) == ("r1", "cam")
    assert abs(reading.offset_ms) < 1000
    assert reading.round_trip_ms >= 0


async def test_a_replaced_robot_stays_away(server, dock):
    async with server.robot("r1") as old:
        reading = asyncio.create_task(drain(old))
        async with server.robot("r1"):
            with pytest.raises(StayAway) as caught:
                await reading
            with pytest.raises(StayAway):
                await old.send(dock, 1)
        assert caught.value.code == 4300
        assert old.state is State.OVER


async def drain(robot):
    async for _ in robot.events():
        pass


async def test_a_draining_server_is_come_back_to(server, dock):
    async with server.robot("r1", options=QUICK) as r1:
        server.close_connections(4100, "draining", retry_after_ms=10)
        await until(lambda: r1.state is not State.ONLINE, step_s=0)
        await r1.wait_online()
        assert r1.statistics().connections == 2


async def test_a_robot_waits_for_a_server_that_is_not_there_yet(server):
    server.reachable = False
    robot = server.robot("r1", options=QUICK)
    entering = asyncio.create_task(robot.__aenter__())
    await until(lambda: robot.state is State.WAITING, step_s=0)
    server.reachable = True
    await entering
    assert robot.state is State.ONLINE
    await robot.aclose()


async def test_a_server_that_never_comes_is_an_error_that_says_why(server):
    server.reachable = False
    options = Options(connect_timeout_s=0.3, backoff_base_s=0.001)
    with pytest.raises(ConnectionLost, match="not reachable"):
        async with server.robot("r1", options=options):
            pass


async def test_a_key_is_registered_once_and_then_proves(server, tmp_path):
    path = tmp_path / "r1.key"
    for token in ("token", "token", None):
        async with Robot("ws://m", name="r1", key=path, token=token, connector=server) as robot:
            assert robot.state is State.ONLINE


async def test_another_key_is_refused_and_both_reasons_told(server):
    key, other = RobotKey.generate(), RobotKey.generate()
    async with Robot("ws://m", name="r1", key=key, token="t", connector=server):
        pass
    with pytest.raises(Refused, match=r"(?s)not registered with this key.*exists"):
        async with Robot("ws://m", name="r1", key=other, token="t", connector=server):
            pass


async def test_leaving_the_context_ends_what_waits(server, dock):
    async with server.robot("r1", options=QUICK) as r1:
        reading = asyncio.create_task(drain(r1))
        server.reachable = False
        server.cut_connections()
        sending = asyncio.create_task(r1.send(dock, 1))
        await until(lambda: r1.statistics().pending == 1, step_s=0)
    await reading
    with pytest.raises(OutcomeUnknown):
        await sending
    with pytest.raises(ConnectionLost):
        await r1.send(dock, 1)


async def test_closing_twice_is_closing_once(server):
    robot = server.robot("r1")
    await robot.aclose()
    async with robot:
        pass
    await robot.aclose()


async def test_a_robot_outside_its_context_says_so(server):
    with pytest.raises(ConnectionLost, match="async with"):
        await server.robot("r1").groups()


async def test_no_task_is_left_behind(server):
    before = asyncio.all_tasks()
    async with server.robot("r1"):
        assert asyncio.all_tasks() - before
    assert asyncio.all_tasks() == before


async def test_a_backlog_leaves_turns_to_others(server, dock):
    for n in range(2000):
        server.post(dock, n, sender="r2")
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with server.robot("r1") as r1:
        await r1.ping()
        counting = asyncio.create_task(count())
        await take(r1, 2001)
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting
    assert turns > 20
