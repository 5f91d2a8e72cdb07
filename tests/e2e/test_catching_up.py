"""Robots that were away, that are slow, and that have more than one device."""

import asyncio

from tests.e2e.conftest import by_every_way
from tests.e2e.wire import Fleet, Peer, together
from tests.until import PATIENCE_S

pytestmark = by_every_way
AWAY = 10_000


def seqs(peer: Peer, conv: str) -> list[int]:
    return [event["seq"] for event in peer.logs[conv]]


async def test_a_robot_that_missed_ten_thousand_messages_gets_them_in_order_and_then_live_ones(
    fleet: Fleet,
) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(one, other)
    await other.until_seq(conv, 1)
    await other.close()
    await one.pipeline(conv, range(AWAY), in_flight=500)
    other = await fleet.online("r2")
    assert [state["acked"] for state in other.welcome["conversations"]] == [1]
    # What follows is sent while the missed part is on its way: the seam is in the middle.
    await together(
        one.pipeline(conv, range(AWAY, AWAY + 500), in_flight=5), other.until_seq(conv, AWAY + 501)
    )
    assert seqs(other, conv) == list(range(2, AWAY + 502))
    assert [event["body"] for event in other.logs[conv]] == list(range(AWAY + 500))


async def test_at_most_window_events_are_in_flight_beyond_the_acks(fleet: Fleet) -> None:
    one, slow = await fleet.online("r1"), await fleet.online("r2", window=10)
    slow.acking = False
    conv = await fleet.group(one, slow)
    await one.pipeline(conv, range(100))
    await slow.until_seq(conv, 10)
    await slow.settle()
    assert seqs(slow, conv) == list(range(1, 11))
    await slow.ack(conv, 4)
    await slow.until_seq(conv, 14)
    await slow.settle()
    assert seqs(slow, conv) == list(range(1, 15))


async def test_acks_open_the_window_until_everything_has_arrived(fleet: Fleet) -> None:
    one, slow = await fleet.online("r1"), await fleet.online("r2", window=7)
    conv = await fleet.group(one, slow)
    await one.pipeline(conv, range(300))
    await slow.until_seq(conv, 301)
    assert seqs(slow, conv) == list(range(1, 302))


async def test_the_window_holds_for_missed_events_too(fleet: Fleet) -> None:
    one, away = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(one, away)
    await away.close()
    await one.pipeline(conv, range(100))
    away = await fleet.online("r2", window=10)
    away.acking = False
    await away.until_seq(conv, 10)
    await away.settle()
    assert len(seqs(away, conv)) == 10


async def test_a_window_of_one_conversation_does_not_hold_up_another(fleet: Fleet) -> None:
    one, slow = await fleet.online("r1"), await fleet.online("r2", window=5)
    full = await fleet.group(one, slow, name="full")
    other = await fleet.group(one, slow, name="other")
    slow.acking = False
    await one.pipeline(full, range(50))
    await one.pipeline(other, range(3))
    await slow.until_seq(other, 4)
    assert len(seqs(slow, full)) <= 5


async def test_two_devices_of_one_robot_see_the_same_log(fleet: Fleet) -> None:
    one = await fleet.online("r1")
    arm, leg = await fleet.online("r2", device="arm"), await fleet.online("r2", device="leg")
    conv = await fleet.group(one, arm)
    await together(one.pipeline(conv, range(100)), arm.pipeline(conv, range(100)))
    logs = await together(arm.until_seq(conv, 201), leg.until_seq(conv, 201))
    assert logs[0] == logs[1]
    assert len(logs[0]) == 201


async def test_a_device_goes_on_from_what_it_acked_itself(fleet: Fleet) -> None:
    robot = await fleet.online("r1", device="arm")
    conv = await fleet.group(robot)
    other = await fleet.online("r1", device="leg")
    await robot.pipeline(conv, range(10))
    for device, seq in ((robot, 4), (other, 9)):
        await device.ack(conv, seq)
        await device.settle()
        await device.close()
    again = await fleet.online("r1", device="arm")
    await again.until_seq(conv, 11)
    assert seqs(again, conv) == list(range(5, 12))


async def test_a_new_device_goes_on_from_what_the_robot_acked_furthest(fleet: Fleet) -> None:
    robot = await fleet.online("r1", device="arm")
    conv = await fleet.group(robot)
    await robot.pipeline(conv, range(10))
    await robot.ack(conv, 7)
    await robot.settle()
    new = await fleet.online("r1", device="leg")
    await new.until_seq(conv, 11)
    assert seqs(new, conv) == list(range(8, 12))


async def test_resume_counts_more_than_what_the_device_acked(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    await robot.pipeline(conv, range(10))
    await robot.until_seq(conv, 11)
    await robot.settle()
    await robot.close()
    again = await fleet.online("r1", resume={conv: robot.place(conv, 3)})
    await again.until_seq(conv, 11)
    assert seqs(again, conv) == list(range(4, 12))


async def test_a_robot_that_never_acked_gets_the_log_from_the_event_that_added_it(
    fleet: Fleet,
) -> None:
    owner = await fleet.online("owner")
    await fleet.register("r2")
    conv = await fleet.group(owner)
    await owner.pipeline(conv, range(5))
    added = await owner.request("add_members", conv=conv, robots=[fleet.name("r2")])
    robot = await fleet.online("r2")
    await robot.until_seq(conv, added["result"]["seq"])
    assert seqs(robot, conv) == [7]


async def test_an_ack_never_moves_a_cursor_backwards(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    await robot.pipeline(conv, range(5))
    await robot.until_seq(conv, 6)
    await robot.ack(conv, 2)
    await robot.settle()
    await robot.close()
    again = await fleet.online("r1")
    assert again.welcome["conversations"][0]["acked"] == 6


async def test_a_cursor_stays_where_it_is_when_a_device_reads_the_past_again(
    fleet: Fleet,
) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    await robot.pipeline(conv, range(5))
    await robot.until_seq(conv, 6)
    robot.logs.pop(conv)
    await robot.request("follow", conv=conv, after=1)
    await robot.ack(conv, 3)
    await robot.settle()
    await robot.close()
    again = await fleet.online("r1")
    assert again.welcome["conversations"][0]["acked"] == 6


async def test_a_resume_ahead_of_the_head_never_hides_an_event(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    await robot.until_seq(conv, 1)
    await robot.close()
    again = await fleet.online("r1", resume={conv: robot.place(conv, 50)})
    sent = await again.send(conv, "new")
    await again.until_seq(conv, sent["seq"])
    assert [notice["t"] for notice in again.notices] == ["gap"]


async def test_a_resume_under_another_epoch_never_hides_an_event(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    await robot.pipeline(conv, range(5))
    await robot.close()
    again = await fleet.online("r1", resume={conv: {"epoch": "no-such", "seq": 5}})
    await again.until_seq(conv, 6)
    assert seqs(again, conv) == list(range(1, 7))
    assert [notice["t"] for notice in again.notices] == ["gap"]


async def test_without_auto_nothing_is_delivered_until_followed(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2", auto=False)
    conv = await fleet.group(one, other)
    await one.pipeline(conv, range(5))
    await other.settle()
    assert not other.logs
    await other.request("follow", conv=conv, after=3)
    await one.send(conv, "live")
    await other.until_seq(conv, 7)
    assert seqs(other, conv) == [4, 5, 6, 7]


async def test_following_after_latest_gives_new_events_only(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2", auto=False)
    conv = await fleet.group(one, other)
    await one.pipeline(conv, range(5))
    await other.request("follow", conv=conv, after="latest")
    await one.send(conv, "live")
    await other.until_seq(conv, 7)
    assert seqs(other, conv) == [7]


async def test_unfollowing_ends_the_delivery_and_following_again_goes_on_without_gap(
    fleet: Fleet,
) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(one, other)
    await other.until_seq(conv, 1)
    await other.request("unfollow", conv=conv)
    await one.pipeline(conv, range(5))
    await other.settle()
    assert seqs(other, conv) == [1]
    await other.request("follow", conv=conv, after=1)
    await other.until_seq(conv, 6)
    assert seqs(other, conv) == list(range(1, 7))


async def test_following_while_others_send_leaves_no_seam(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2", auto=False)
    conv = await fleet.group(one, other)

    async def follow_again_and_again() -> None:
        for _ in range(20):
            after = other.logs[conv][-1]["seq"] if other.logs[conv] else 0
            await other.request("follow", conv=conv, after=after)
            await other.request("unfollow", conv=conv)
        await other.request("follow", conv=conv, after=other.logs[conv][-1]["seq"])
        await other.until_seq(conv, 1001)

    await together(one.pipeline(conv, range(1000), in_flight=20), follow_again_and_again())
    assert seqs(other, conv) == list(range(1, 1002))


async def test_a_reader_that_stops_reading_slows_only_itself(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    stuck = await fleet.online("r3", window=65_536)
    conv = await fleet.group(one, other, stuck)
    stuck.socket.transport.pause_reading()
    body = "x" * 4_000
    sent = await together(one.pipeline(conv, [body] * 2_000), other.until_seq(conv, 2_001))
    assert len(sent[0]) == 2_000
    stuck.socket.transport.resume_reading()
    await stuck.until_seq(conv, 2_001)
    assert seqs(stuck, conv) == list(range(1, 2_002))


async def test_an_unknown_conversation_cannot_be_followed(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    assert await robot.refused_with("follow", conv="g/nowhere", after=0) == "not_found"


async def test_a_session_is_open_while_another_device_comes_and_goes(fleet: Fleet) -> None:
    arm = await fleet.online("r1", device="arm")
    conv = await fleet.group(arm)
    for _ in range(5):
        leg = await fleet.online("r1", device="leg")
        await leg.vanish()
    async with asyncio.timeout(PATIENCE_S):
        assert (await arm.send(conv, "still here"))["seq"] == 2


async def test_the_second_session_of_a_device_replaces_the_first(fleet: Fleet) -> None:
    first = await fleet.online("r1")
    conv = await fleet.group(first)
    second = await fleet.online("r1")
    code = await first.until_closed()
    assert 4300 <= code <= 4399
    assert [notice["code"] for notice in first.notices if notice["t"] == "bye"] == [code]
    assert (await second.send(conv, "mine"))["seq"] == 2
