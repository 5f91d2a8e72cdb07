"""Messages: one order for all, stored once, in both codecs."""

import base64
import secrets
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


async def test_an_event_carries_what_its_sender_wrote(fleet: Fleet) -> None:
    one, other = await fleet.online("r1", MSGPACK), await fleet.online("r2", MSGPACK)
    conv = await fleet.group(one, other)
    body = {"task": "pick", "shelf": 7, "at": [1.5, -2, None, True], "täg": "☃", "raw": b"\x00\xff"}
    first = await one.send(conv, "first")
    sent = await one.send(conv, body, cid="c-1", kind="command", ref=first["seq"])
    event = (await other.until_seq(conv, sent["seq"]))[-1]
    assert event == {
        "seq": sent["seq"],
        "ts": sent["ts"],
        "sender": one.robot,
        "cid": "c-1",
        "kind": "command",
        "ref": first["seq"],
        "body": body,
    }


async def test_bytes_in_a_body_become_base64_for_readers_of_json(fleet: Fleet) -> None:
    one, other = await fleet.online("r1", MSGPACK), await fleet.online("r2", JSON)
    conv = await fleet.group(one, other)
    raw = secrets.token_bytes(50)
    sent = await one.send(conv, {"image": raw})
    log = await other.until_seq(conv, sent["seq"])
    assert log[-1]["body"] == {"image": base64.b64encode(raw).decode()}
    page = await other.request("history", conv=conv, after=sent["seq"] - 1)
    assert page["events"] == log[-1:]


@pytest.mark.parametrize(
    "body",
    [None, False, 0, -(2**63), 2**64 - 1, 1.5, "", "a\x00b\u202e", [], {}, {"1": {"": []}}],
    ids=repr,
)
async def test_any_value_is_a_body_and_comes_back_the_same_in_both_codecs(
    fleet: Fleet, body: Any
) -> None:
    one, other = await fleet.online("r1", MSGPACK), await fleet.online("r2", JSON)
    conv = await fleet.group(one, other)
    await one.send(conv, body)
    await other.send(conv, body)
    logs = await together(one.until_seq(conv, 3), other.until_seq(conv, 3))
    assert [event["body"] for log in logs for event in log[1:]] == [body] * 4


async def test_a_cid_sent_three_times_is_one_event_with_three_equal_answers(fleet: Fleet) -> None:
    one = await fleet.online("r1")
    conv = await fleet.group(one)
    answers = [await one.send(conv, "once", cid="c-1"), await one.send(conv, "once", cid="c-1")]
    await one.close()
    again = await fleet.online("r1")
    answers.append(await again.send(conv, "once", cid="c-1"))
    assert [answer["dup"] for answer in answers] == [False, True, True]
    facts = [(a["conv"], a["epoch"], a["seq"], a["ts"]) for a in answers]
    assert facts == [facts[0]] * 3
    marker = await again.send(conv, "next")
    log = await again.until_seq(conv, marker["seq"])
    assert [event["cid"] for event in log].count("c-1") == 1
    assert marker["seq"] == answers[0]["seq"] + 1


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


async def test_two_robots_may_use_the_same_cid(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(one, other)
    sent = [await peer.send(conv, "mine", cid="c-1") for peer in (one, other)]
    assert [answer["dup"] for answer in sent] == [False, False]


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


async def test_a_direct_line_begins_with_its_first_message(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = direct(one, other)
    sent = await one.send(conv, "hello")
    assert sent["seq"] == 1
    log = await other.until_seq(conv, 1)
    assert [(event["sender"], event["body"]) for event in log] == [(one.robot, "hello")]
    assert (await other.send(conv, "hi"))["seq"] == 2
    assert len(await one.until_seq(conv, 2)) == 2


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
