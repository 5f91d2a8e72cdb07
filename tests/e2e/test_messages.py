"""Messages: one order for all, stored once, in both codecs."""

from typing import Any

import pytest

from tests.e2e.conftest import by_every_way
from tests.e2e.wire import JSON, MSGPACK, Codec, Fleet, Frame, Peer, together

pytestmark = by_every_way
EACH = 500


def told(log: list[Frame]) -> list[tuple[Any, ...]]:
    """Return what every reader of a log must see alike."""
    return [(event["seq"], event["ts"], event["sender"], event["cid"]) for event in log]


@pytest.mark.parametrize(
    ("one_codec", "other_codec"),
    [(MSGPACK, MSGPACK), (JSON, JSON), (MSGPACK, JSON)],
    ids=["msgpack", "json", "mixed"],
)
async def test_two_senders_and_two_readers_agree_on_a_thousand_messages(
    fleet: Fleet, one_codec: Codec, other_codec: Codec
) -> None:
    one, other = await fleet.online("r1", one_codec), await fleet.online("r2", other_codec)
    conv = await fleet.group(one, other)
    answers = await together(
        *(
            peer.pipeline(conv, [[peer.robot, count] for count in range(EACH)])
            for peer in (one, other)
        )
    )
    head = 1 + 2 * EACH
    logs = await together(one.until_seq(conv, head), other.until_seq(conv, head))
    assert told(logs[0]) == told(logs[1])
    assert [event["seq"] for event in logs[0]] == list(range(1, head + 1))
    acked = sorted(answer["seq"] for sent in answers for answer in sent)
    assert acked == list(range(2, head + 1))


async def test_what_one_connection_sends_keeps_its_order(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    sent = await robot.pipeline(conv, range(EACH))
    assert [answer["seq"] for answer in sent] == list(range(2, EACH + 2))
    log = await robot.until_seq(conv, EACH + 1)
    assert [event["body"] for event in log[1:]] == list(range(EACH))


async def test_a_cid_sent_twice_in_one_go_is_one_event(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    ids = [await robot.post("send", conv=conv, cid="twin", body=0) for _ in range(20)]
    answers = [await robot.answer(request_id) for request_id in ids]
    assert {answer["seq"] for answer in answers} == {2}
    assert [answer["dup"] for answer in answers] == [False] + [True] * 19


@pytest.mark.parametrize(
    "changed", [{"body": "other"}, {"kind": "other"}, {"ref": 1}], ids=["body", "kind", "ref"]
)
async def test_a_cid_used_for_something_else_is_a_conflict(
    fleet: Fleet, changed: dict[str, Any]
) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    first: dict[str, Any] = {"conv": conv, "cid": "c-1", "body": "one"}
    sent = await robot.request("send", **first)
    error = await robot.refusal("send", **{**first, **changed})
    assert error["code"] == "conflict"
    assert str(sent["seq"]) in error["message"]
    assert (await robot.send(conv, "next"))["seq"] == sent["seq"] + 1


async def test_one_cid_in_two_conversations_is_two_events(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    convs = [await fleet.group(robot, name=name) for name in ("dock", "yard")]
    sent = [await robot.send(conv, "same", cid="c-1") for conv in convs]
    assert [answer["dup"] for answer in sent] == [False, False]


async def test_an_answer_means_that_the_event_can_be_read(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(one, other)
    for count in range(50):
        sent = await one.send(conv, count)
        page = await other.request("history", conv=conv, after=sent["seq"] - 1)
        assert [event["body"] for event in page["events"]] == [count]


async def test_a_direct_line_waits_for_a_robot_that_is_away(fleet: Fleet) -> None:
    one = await fleet.online("r1")
    await fleet.register("r2")
    conv = f"d/{one.robot}/{fleet.name('r2')}"
    await one.send(conv, "for later")
    other = await fleet.online("r2")
    assert [event["body"] for event in await other.until_seq(conv, 1)] == ["for later"]


async def test_a_third_robot_cannot_tell_whether_a_direct_line_exists(fleet: Fleet) -> None:
    one, other, third = [await fleet.online(name) for name in ("r1", "r2", "r3")]
    conv = direct(one, other)
    before = await third.refusal("history", conv=conv)
    await one.send(conv, "between us")
    after = await third.refusal("history", conv=conv)
    assert (before["code"], before["message"]) == (after["code"], after["message"])
    assert await third.refused_with("send", conv=conv, cid="x", body=0) == before["code"]


async def test_a_direct_line_to_an_unknown_robot_is_refused(fleet: Fleet) -> None:
    one = await fleet.online("r1")
    error = await one.refusal("send", conv=f"d/{one.robot}/{one.robot}-twin", cid="x", body=0)
    assert error["code"] == "not_found"
    assert f"{one.robot}-twin" in error["message"]


def direct(one: Peer, other: Peer) -> str:
    """Return the direct line between two robots."""
    return "d/" + "/".join(sorted([one.robot, other.robot]))
