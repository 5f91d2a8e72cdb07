"""Reading the past: pages in both directions, and edits folded in."""

from typing import Any

import pytest

from tests.e2e.wire import JSON, MSGPACK, Codec, Fleet, Frame


def seqs(frame: Frame) -> list[int]:
    return [event["seq"] for event in frame["events"]]


async def test_pages_forwards_give_the_whole_log_in_order(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    await robot.pipeline(conv, range(24))
    found: list[int] = []
    for _ in range(3):
        after = found[-1] if found else 0
        found += seqs(await robot.request("history", conv=conv, after=after, limit=10))
    assert found == list(range(1, 26))
    assert seqs(await robot.request("history", conv=conv, after=25, limit=10)) == []


async def test_after_and_before_together_are_refused(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    error = await robot.refusal("history", conv=conv, after=1, before=9)
    assert error["code"] == "bad_frame"
    assert "not both" in error["message"]


async def test_a_page_over_the_limit_is_refused_with_the_limit(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    page_max = robot.welcome["limits"]["page_max"]
    error = await robot.refusal("history", conv=conv, after=0, limit=page_max + 1)
    assert error["code"] == "too_large"
    assert str(page_max) in error["message"]


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
async def test_a_redacted_message_shows_nothing_of_what_it_said(fleet: Fleet, codec: Codec) -> None:
    robot = await fleet.online("r1", codec)
    conv = await fleet.group(robot)
    sent = await robot.send(conv, "my secret")
    await robot.send(conv, None, kind="redact", ref=sent["seq"])
    shown = await robot.request("history", conv=conv, after=sent["seq"] - 1, view="messages")
    assert [event["seq"] for event in shown["events"]] == [sent["seq"]]
    assert "secret" not in str(shown)


async def test_a_redaction_counts_more_than_a_later_edit(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    sent = await robot.send(conv, "my secret")
    await robot.send(conv, None, kind="redact", ref=sent["seq"])
    try:
        await robot.send(conv, "back again", kind="edit", ref=sent["seq"])
    finally:
        shown = await robot.request("history", conv=conv, after=1, view="messages")
    assert [event["body"] for event in shown["events"]] == [None]


@pytest.mark.parametrize("kind", ["edit", "redact"])
async def test_a_member_cannot_change_what_another_said(fleet: Fleet, kind: str) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(one, other)
    sent = await one.send(conv, "mine")
    error = await other.refusal("send", conv=conv, cid="x", kind=kind, ref=sent["seq"], body="no")
    assert error["code"] == "forbidden"


async def test_an_admin_may_redact_what_a_member_said(fleet: Fleet) -> None:
    owner, member = await fleet.online("owner"), await fleet.online("member")
    conv = await fleet.group(owner, member)
    sent = await member.send(conv, "rude")
    await owner.send(conv, None, kind="redact", ref=sent["seq"])
    shown = await owner.request("history", conv=conv, after=1, view="messages")
    assert "rude" not in str(shown)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "bad_frame"),
        ({"ref": 99}, "not_found"),
        ({"ref": 1}, "forbidden"),
        ({"ref": 0}, "not_found"),
    ],
    ids=["no ref", "beyond the head", "an event of the server", "zero"],
)
async def test_an_edit_of_nothing_is_refused(
    fleet: Fleet, fields: dict[str, Any], code: str
) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    error = await robot.refusal("send", conv=conv, cid="x", kind="edit", body="no", **fields)
    assert error["code"] == code


async def test_a_page_of_messages_is_not_empty_while_older_ones_remain(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    sent = await robot.send(conv, "first")
    for count in range(20):
        await robot.send(conv, count, kind="edit", ref=sent["seq"])
    shown = await robot.request("history", conv=conv, limit=5, view="messages")
    assert [event["body"] for event in shown["events"] if event["kind"] == "message"] == [19]


async def test_history_needs_no_follow_and_does_not_move_the_cursor(fleet: Fleet) -> None:
    robot = await fleet.online("r1", auto=False)
    conv = await fleet.group(robot)
    assert seqs(await robot.request("history", conv=conv, after=0)) == [1]
    await robot.close()
    again = await fleet.online("r1")
    assert again.welcome["conversations"][0]["acked"] == 0


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
async def test_no_frame_of_the_server_is_over_what_the_limit_it_told_means(
    fleet: Fleet, codec: Codec
) -> None:
    writer = await fleet.online("r" * 50)
    conv = await fleet.group(writer)
    raw = b"\x00" * 480
    ids = [
        await writer.post("send", conv=conv, cid=f"{n:064}", kind="k" * 32, body=raw)
        for n in range(512)
    ]
    for request_id in ids:
        await writer.answer(request_id)
    reader = await fleet.stranger(codec)
    name = writer.robot
    token = fleet.server.token(name)
    welcome = await reader.hello(name, key=None, token=token, device="reader")
    limit = welcome["limits"]["frame_bytes_max"]
    sizes = []
    while not reader.logs[conv] or reader.logs[conv][-1]["seq"] < 513:
        message = await reader.socket.recv()
        sizes.append(len(message))
        reader.sort(reader.codec.loads(message))
    await reader.write({"t": "history", "id": 999, "conv": conv, "after": 0, "limit": 1000})
    sizes.append(len(await reader.socket.recv()))
    assert max(sizes) <= (limit if codec is MSGPACK else 6 * limit)
