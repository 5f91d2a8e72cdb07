"""Frames that parse and should not be: depths, numbers, names, places that are not one's own."""

from typing import Any, Final

import msgpack

from tests.e2e.wire import JSON
from tests.hostile.inputs.attack import BODY_MAX, FRAME_MAX, Input, Refused, Stage, Story, own_group
from tests.hostile.raw_socket import TEXT, RawSocket, frame
from tests.hostile.refusals import assert_refused

OVERRIDE: Final = "\u202e"
SEND: Final = '{"t":"send","id":7,"conv":"{own}","cid":"c","body":'


def body(text: str) -> str:
    """Return a send of a body in JSON."""
    return SEND + text + "}"


async def verbatim(stage: Stage) -> None:
    peer = await stage.robot()
    conv = await own_group(peer)
    for text in (
        "\x00", "\ufeff", OVERRIDE, "e" + "\u0301" * 50_000, "\u200b", '\n{"level":"error"}', "\x1b[2J",
        "<script>alert(1)</script>", "=1+1", "{{7*7}}", "${jndi:ldap://x}", "http://169.254.169.254/",
    ):  # fmt: skip
        sent = await peer.send(conv, text)
        assert (await peer.until_seq(conv, sent["seq"]))[-1]["body"] == text


async def twice(stage: Stage) -> None:
    peer, reader = await stage.robot(), await stage.robot("reader", JSON)
    conv = await stage.gang.group(peer, reader)
    said = b"\x85\xa1t\xa4send\xa2id\x07\xa4conv" + msgpack.packb(conv)
    await peer.socket.send(said + b"\xa3cid\xa1c\xa4body\x82\xa1a\x01\xa1a\x02")
    for each in (peer, reader):
        assert (await each.until_seq(conv, 2))[-1]["body"] == {"a": 2}


async def odd_cids(stage: Stage) -> None:
    peer = await stage.robot()
    conv = await own_group(peer)
    for cid in ("$gt", '{"$ne":1}', "'; DROP TABLE events; --", "../..", "\x00", "\n", "*"):
        assert not (await peer.send(conv, 0, cid=cid))["dup"]
        assert (await peer.send(conv, 0, cid=cid))["dup"]


async def cid_again(stage: Stage) -> None:
    peer = await stage.robot()
    one, other = await own_group(peer), await stage.gang.group(peer, name="second")
    first = await peer.send(one, 1, cid="c")
    assert_refused(await peer.refusal("send", conv=one, cid="c", body=2), "conflict")
    elsewhere = await peer.send(other, 1, cid="c")
    assert first["seq"] == 2 and not elsewhere["dup"], "a cid belongs to its conversation"


async def others_cid(stage: Stage) -> None:
    one, other = await stage.robot("one"), await stage.robot("two")
    conv = await stage.gang.group(one, other)
    await one.send(conv, 1, cid="c")
    assert not (await other.send(conv, 2, cid="c"))["dup"]


async def forged(stage: Stage) -> None:
    peer = await stage.robot()
    conv = await own_group(peer)
    lies = {"sender": "honest-1", "seq": 999, "ts": 0, "epoch": "x"}
    sent = await peer.request("send", conv=conv, cid="c", body=0, **lies)
    event = (await peer.until_seq(conv, sent["seq"]))[-1]
    assert (event["sender"], event["seq"]) == (peer.robot, 2)


async def strangers(stage: Stage) -> None:
    owner, peer = await stage.robot("owner"), await stage.robot()
    there = await stage.gang.group(owner)
    missing = f"g/{stage.gang.name('dust')}"
    asked: list[dict[str, Any]] = [
        {"t": "send", "cid": "c", "body": 0}, {"t": "history"}, {"t": "follow", "after": 0},
        {"t": "list_members"}, {"t": "join"}, {"t": "leave"}, {"t": "delete_group"},
        {"t": "add_members", "robots": [peer.robot]},
    ]  # fmt: skip
    for fields in asked:
        said = [await peer.refusal(**fields, conv=conv) for conv in (there, missing)]
        told = [e["message"].replace(c, "") for e, c in zip(said, (there, missing), strict=True)]
        assert {error["code"] for error in said} == {"not_found"}
        assert told[0] == told[1]


async def removed(stage: Stage) -> None:
    owner, peer = await stage.robot("owner"), await stage.robot()
    conv = await stage.gang.group(owner, peer)
    await owner.request("remove_members", conv=conv, robots=[peer.robot])
    for fields in ({"t": "send", "cid": "c", "body": 0}, {"t": "history"}):
        assert_refused(await peer.refusal(**fields, conv=conv), "not_found")
    sent = await owner.send(conv, "secret")
    await peer.settle()
    assert all(event["seq"] < sent["seq"] for event in peer.logs[conv])


async def poisoned_cursor(stage: Stage) -> None:
    peer = await stage.robot()
    conv = await own_group(peer)
    await peer.until_seq(conv, 1)
    for seq in (2, 2**31, 2**53 - 1):
        await peer.ack(conv, seq)
    await peer.settle()
    assert {error["code"] for error in peer.errors} == {"conflict"}
    await peer.close()
    again = await stage.robot()
    assert again.welcome["conversations"][0]["acked"] == 1


async def others_ack(stage: Stage) -> None:
    owner, peer = await stage.robot("owner"), await stage.robot()
    conv = await stage.gang.group(owner)
    await owner.until_seq(conv, 1)
    await peer.ack(conv, 1)
    await peer.settle()
    assert [error["code"] for error in peer.errors] == ["not_found"]


async def last_owner(stage: Stage) -> None:
    peer = await stage.robot()
    conv = await own_group(peer)
    for fields in ({"t": "leave"}, {"t": "remove_members", "robots": [peer.robot]}):
        assert_refused(await peer.refusal(**fields, conv=conv), "conflict", "owner")
    assert_refused(await peer.refusal("add_members", conv=conv, robots=[peer.robot]), "exists")


async def come_and_go(stage: Stage) -> None:
    owner, peer = await stage.robot("owner"), await stage.robot()
    conv = await stage.gang.group(owner, open=True)
    for _ in range(50):
        await peer.request("join", conv=conv)
        await peer.request("leave", conv=conv)


async def many_groups(stage: Stage) -> None:
    peer = await stage.robot()
    names = [stage.gang.name(f"tiny{number}") for number in range(300)]
    ids = [await peer.post("create_group", name=name) for name in names]
    assert {(await peer.answer(request_id))["t"] for request_id in ids} == {"ok"}


async def scans(stage: Stage) -> None:
    peer = await stage.robot()
    conv = await own_group(peer)
    await peer.pipeline(conv, [bytes(1_000)] * 200)
    ids = [await peer.post("history", conv=conv, after=0, limit=1_000) for _ in range(300)]
    for request_id in ids:
        assert (await peer.answer(request_id))["events"]


async def growing(stage: Stage) -> None:
    peer, reader = await stage.robot(), await stage.robot("reader", JSON)
    conv = await stage.gang.group(peer, reader)
    text = "\x01" * (BODY_MAX - 5)  # each is six bytes in JSON
    sent = await peer.send(conv, text)
    assert (await reader.until_seq(conv, sent["seq"]))[-1]["body"] == text


async def no_answers_read(stage: Stage) -> None:
    raw = await RawSocket.in_session(stage.server, stage.gang.name("mallory"))
    asks = b"".join(frame(TEXT, b'{"t":"list_robots","id":%d}' % n) for n in range(400_000))
    assert await raw.is_held_back(asks)
    raw.reset()


async def signals(stage: Stage) -> None:
    sender, stuck = await stage.robot("sender"), await stage.robot("stuck")
    conv = await stage.gang.group(sender, stuck)
    stuck.socket.transport.pause_reading()
    for number in range(2_000):
        fields = {"t": "signal", "conv": conv, "key": f"k{number % 50}", "body": bytes(2_000)}
        await sender.write(fields)
    await sender.settle()
    await stuck.vanish()


async def loop(stage: Stage) -> None:
    one, other = await stage.robot("one"), await stage.robot("two")
    conv = await stage.gang.group(one, other)
    for number in range(150):
        speaker, listener = (one, other) if number % 2 else (other, one)
        sent = await speaker.send(conv, number)
        await listener.until_seq(conv, sent["seq"])


async def extra_fields(stage: Stage) -> None:
    peer = await stage.robot()
    extra = {f"x{number}": number for number in range(10_000)}
    assert (await peer.request("ping", **extra))["t"] == "pong"


async def too_big(stage: Stage) -> None:
    peer = await stage.robot()
    await peer.socket.send(bytes(FRAME_MAX + 1))
    assert await peer.until_closed() == 1009


def fields(t: str, **more: Any) -> dict[str, Any]:
    """Return a frame's fields."""
    return {"t": t, **more}


INPUTS: Final = (
    Input("100,000 lists in each other", Refused("[" * 100_000, "bad_frame")),
    Input("a body of 100,000 lists in each other",
          Refused(body("[" * 100_000 + "]" * 100_000), "bad_frame")),
    Input("a body of 65 levels", Refused(body("[" * 65 + "]" * 65), "bad_frame", "64")),
    *(Input(f"the number {what}", Refused(f'{{"t":"ping","id":{number}}}', "bad_frame"))
      for what, number in (
          ("of 5,000 digits", "9" * 5_000), ("1e400", "1e400"), ("NaN", "NaN"),
          ("Infinity", "Infinity"), ("-1 as an id", "-1"), ("1.5 as an id", "1.5"),
          ("true as an id", "true"), ("2^64", str(2**64)), ("01", "01"))),
    *(Input(f"a body that is {number}", Refused(body(number), "bad_frame"))
      for number in ("1e400", "-Infinity", "NaN", str(2**64))),
    *(Input(f"half a surrogate pair in `{field}`",
            Refused(f'{{"t":"send","id":7,"conv":"g/a","cid":"c","body":0,"{field}":"\\ud800"}}',
                    "bad_frame")) for field in ("conv", "cid", "kind", "body")),
    *(Input(f"JSON that is {what}", Refused(text, "bad_frame")) for what, text in (
        ("null", "null"), ("a list", "[1]"), ("a text", '"ping"'), ("nothing", ""), ("blank", "  "),
        ("followed by more", '{"t":"ping","id":1} x'), ("two frames", '{"t":"ping","id":1}' * 2),
        ("begun with a byte order mark", '\ufeff{"t":"ping","id":1}'),
        ("cut", '{"t":"ping","id":1'))),
    *(Input(f"MessagePack that is {what}", Refused(data, "bad_frame")) for what, data in (
        ("nil", b"\xc0"), ("cut", msgpack.packb({"t": "ping", "id": 1})[:-1]),
        ("a map of 2^32 pairs", b"\xdf\xff\xff\xff\xff"),
        ("an extension", b"\x81\xa1t\xd4\x01\x00"), ("JSON", b'{"t":"ping","id":1}'))),
    Input("a key twice in a body", Story("the last one counts, for every reader alike", twice)),
    Input("a frame of no known type", Refused(fields("fly"), "bad_frame", "fly")),
    Input("a frame without its fields", Refused(fields("send"), "bad_frame")),
    Input("10,000 fields that nobody knows", Story("ignores them", extra_fields)),
    Input("fields of wrong types", Refused(fields("send", conv=7, cid=[], body=0), "bad_frame")),
    *(Input(f"a seq of {seq!r}", Refused(fields("ack", conv="own", seq=seq), "bad_frame", "seq"))
      for seq in (-1, 2**53, 2**53 + 1, 2**63, 2**64 - 1, "1", 1.5, None)),
    Input("acks of what was not delivered, up to 2^53 - 1",
          Story("`conflict`; the cursor stays", poisoned_cursor)),
    Input("an empty cid", Refused(fields("send", conv="own", cid="", body=0), "bad_frame", "cid")),
    Input("a cid of 10 KiB",
          Refused(fields("send", conv="own", cid="x" * 10_240, body=0), "bad_frame", "cid")),
    Input("a cid that is a map, {$gt: ''}",
          Refused(fields("send", conv="own", cid={"$gt": ""}, body=0), "bad_frame", "cid")),
    Input("cids of SQL, of operators, of NUL", Story("texts like any other", odd_cids)),
    Input("another robot's cid", Story("is no duplicate", others_cid)),
    Input("a cid again, with another body", Story("`conflict`", cid_again)),
    *(Input(f"the conversation {conv!r}", Refused(fields("history", conv=conv), "bad_frame"))
      for conv in ("g/../a", "g/a:b", "g/*", "g/a\nb", "g/a\x00", "g//", "d/b/a", "*")),
    Input("a group whose name is a path", Refused(fields("create_group", name="../x"), "bad_frame")),
    Input("sender, seq, ts and epoch in a send", Story("ignores them", forged)),
    Input("every request about a group that one is not in",
          Story("`not_found`, as if it did not exist", strangers)),
    Input("requests after one's removal", Story("`not_found`; nothing more comes", removed)),
    Input("removing and adding oneself, as the last owner",
          Story("`conflict`; `exists`", last_owner)),
    Input("100,000 members of a new group",
          Refused(fields("create_group", name="many", members=["r"] * 30_000), "too_large")),
    Input("joining and leaving over and over", Story("carries it out", come_and_go)),
    Input("300 groups at once", Story("makes them", many_groups)),
    Input("a page of a billion events",
          Refused(fields("history", conv="own", limit=10**9), "too_large", "limit")),
    Input("a page backwards and forwards",
          Refused(fields("history", conv="own", after=1, before=1), "bad_frame")),
    Input("300 reads of a whole log at once", Story("answers each in its turn", scans)),
    Input("a body one byte over the limit", Refused(
        fields("send", conv="own", cid="c", body=bytes(BODY_MAX - 4)), "too_large", str(BODY_MAX))),
    Input("a body that is six times as long in JSON", Story("delivers it", growing)),
    Input("400,000 requests, their answers not read", Story("is not read from", no_answers_read)),
    Input("an ack for a conversation of others", Story("`not_found`", others_ack)),
    Input("a reference to an event that does not exist",
          Refused(fields("send", conv="own", cid="c", body=0, ref=99), "bad_frame", "ref")),
    Input("an edit of an event that does not exist",
          Refused(fields("send", conv="own", cid="c", body=0, kind="edit", ref=99), "not_found")),
    Input("an event of the server's own kind", Refused(
        fields("send", conv="own", cid="c", body={"robots": ["x"]}, kind="members_added"), "forbidden")),
    Input("a signal of the server's own", Refused(
        fields("signal", conv="own", key="@presence", body={"online": False}), "forbidden")),
    Input("2,000 signals to a member that does not read",
          Story("keeps the latest of each key", signals)),
    Input("two robots that answer each other without end", Story("carries it out", loop)),
    Input("texts that would forge log lines, draw, run, count or fetch",
          Story("stores and delivers them as they are", verbatim)),
    Input("a frame of the limit and one", Story("`too_large`, closes with 1009",
          too_big)),
)  # fmt: skip
