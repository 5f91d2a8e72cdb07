"""Frames that nobody should send: each is refused with its code, and one of them ends no session."""

import json
import secrets
from typing import Any

import msgpack
import pytest

from tests.e2e.wire import Fleet, Frame, Peer
from tests.hostile.refusals import Raw, assert_refused, assert_still_open, error_to, packed

BODY_MAX = 256 * 1024
FRAME_MAX = 320 * 1024
NAME_RULE = "1 to 64 characters"


async def own_group(peer: Peer) -> str:
    name = f"own-{secrets.token_hex(6)}"
    conv: str = (await peer.request("create_group", name=name))["result"]["conv"]
    return conv


MALFORMED_MSGPACK = {
    "empty": b"",
    "nil": b"\xc0",
    "never used byte": b"\xc1",
    "a number": b"\x05",
    "an array": msgpack.packb(["ping", 1]),
    "text": msgpack.packb("ping"),
    "cut": msgpack.packb({"t": "ping", "id": 1})[:-1],
    "trailing byte": msgpack.packb({"t": "ping", "id": 1}) + b"\x00",
    "two frames": msgpack.packb({"t": "ping", "id": 1}) * 2,
    "map longer than it is": b"\xdf\xff\xff\xff\xff",
    "text longer than it is": b"\x81\xa1t\xdb\xff\xff\xff\xff",
    "array longer than it is": b"\x82\xa1t\xa4ping\xa2id\xdd\xff\xff\xff\xff",
    "extension as t": b"\x81\xa1t\xd4\x01\x00",
    "timestamp as id": b"\x82\xa1t\xa4ping\xa2id\xd6\xff\x00\x00\x00\x00",
    "invalid UTF-8 in a name": b"\x83\xa1t\xa5leave\xa2id\x01\xa4conv\xa3g/\xff",
    "keys that are numbers": b"\x82\x01\xa4ping\x02\x01",
    "random": secrets.token_bytes(1_000),
    "deep": b"\x91" * 100_000,
    "json on messagepack": b'{"t":"ping","id":1}',
}

MALFORMED_JSON = {
    "empty": "",
    "space": "  ",
    "null": "null",
    "a number": "5",
    "an array": '["ping",1]',
    "text": '"ping"',
    "cut": '{"t":"ping","id":1',
    "trailing text": '{"t":"ping","id":1} x',
    "two frames": '{"t":"ping","id":1}{"t":"ping","id":1}',
    "single quotes": "{'t':'ping','id':1}",
    "comment": '{"t":"ping","id":1/**/}',
    "byte order mark": '\ufeff{"t":"ping","id":1}',
    "nul": '{"t":"ping","id":1}\x00',
    "control character": '{"t":"pi\nng","id":1}',
    "bad escape": '{"t":"ping\\x","id":1}',
    "half a surrogate pair": '{"t":"leave","id":1,"conv":"\\ud800"}',
    "deep": "[" * 100_000,
    "deep maps": '{"a":' * 50_000,
    "id with 5,000 digits": '{"t":"ping","id":' + "9" * 5_000 + "}",
    "id of 2^64": '{"t":"ping","id":18446744073709551616}',
    "id of 2^64 alone": '{"id":18446744073709551616}',
    "id below -2^63": '{"t":"ping","id":-9223372036854775809}',
    "id as 1e400": '{"t":"ping","id":1e400}',
    "id as NaN": '{"t":"ping","id":NaN}',
}


@pytest.mark.parametrize("what", MALFORMED_MSGPACK)
async def test_malformed_messagepack_is_refused(attacker: Peer, what: str) -> None:
    assert_refused(await error_to(attacker, MALFORMED_MSGPACK[what]), "bad_frame")
    await assert_still_open(attacker)


@pytest.mark.parametrize("what", MALFORMED_JSON)
async def test_malformed_json_is_refused(json_attacker: Peer, what: str) -> None:
    assert_refused(await error_to(json_attacker, MALFORMED_JSON[what]), "bad_frame")
    await assert_still_open(json_attacker)


async def test_a_text_message_on_the_binary_subprotocol_is_refused(attacker: Peer) -> None:
    error = await error_to(attacker, '{"t":"ping","id":1}')
    assert_refused(error, "bad_frame", "binary")
    await assert_still_open(attacker)


async def test_a_binary_message_on_the_text_subprotocol_is_refused(json_attacker: Peer) -> None:
    error = await error_to(json_attacker, b'{"t":"ping","id":1}')
    assert_refused(error, "bad_frame", "text")
    await assert_still_open(json_attacker)


async def test_an_unknown_frame_is_refused_by_its_name(attacker: Peer) -> None:
    error = await attacker.refusal("fly")
    assert_refused(error, "bad_frame", "fly")
    await assert_still_open(attacker)


async def test_a_frame_without_t_is_refused(attacker: Peer) -> None:
    assert_refused(await error_to(attacker, msgpack.packb({"id": 1})), "bad_frame", "t")


async def test_the_third_offence_ends_the_session(attacker: Peer) -> None:
    fatal = []
    for _ in range(3):
        error = await error_to(attacker, b"\xc1")
        fatal.append(error["fatal"])
    assert fatal == [False, False, True]
    assert await attacker.until_closed() == 1008


async def test_offences_before_hello_end_the_connection_too(gang: Fleet) -> None:
    peer = await gang.stranger()
    for _ in range(3):
        await peer.write({"t": "whoami", "id": 1})
    await peer.until_closed()
    assert peer.answers[1]["fatal"] is True


# Bodies.

BAD_MSGPACK_BODIES = {
    "invalid UTF-8": b"\xa2\xff\xfe",
    "overlong UTF-8": b"\xa2\xc0\x80",
    "surrogate": b"\xa3\xed\xa0\x80",
    "beyond Unicode": b"\xa4\xf4\x90\x80\x80",
    "invalid UTF-8 deep inside": b"\x81\xa1a\x91\x81\xa1b\xa2\xff\xfe",
    "nested 1,000 deep": b"\x91" * 1_000 + b"\xc0",
    "nested 100,000 deep": b"\x91" * 100_000 + b"\xc0",
    "maps nested 1,000 deep": b"\x81\xa1a" * 1_000 + b"\xc0",
    "65 levels": b"\x91" * 65 + b"\xc0",
    "NaN": b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    "infinity": b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    "infinity in 32 bits": b"\xca\xff\x80\x00\x00",
    "extension": b"\xd4\x05\x00",
    "large extension": b"\xc9\x00\x00\x10\x00\x05" + bytes(4096),
    "timestamp": b"\xd6\xff\x00\x00\x00\x00",
    "timestamp deep inside": b"\x91\x91\xd6\xff\x00\x00\x00\x00",
    "bad timestamp": b"\xc7\x0c\xff" + b"\xff" * 12,
    "key of bytes": b"\x81\xc4\x01a\x01",
    "key that is a float": b"\x81\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\x01",
    "key that is nil": b"\x81\xc0\x01",
    "key that is a list": b"\x81\x91\x01\x01",
    "a key as a number and as text": b"\x82\x01\xc0\xa11\xc0",
    "never used byte": b"\xc1",
    "map without its last value": b"\x82\xa1a\x01\xa1b",
}

BAD_JSON_BODIES = {
    "half a surrogate pair": r'"\ud800"',
    "half a surrogate pair as key": r'{"\udfff":1}',
    "half a surrogate pair deep inside": r'[{"a":["\ud83d"]}]',
    "nested 1,000 deep": "[" * 1_000 + "]" * 1_000,
    "nested 100,000 deep": "[" * 100_000 + "]" * 100_000,
    "maps nested 1,000 deep": '{"a":' * 1_000 + "1" + "}" * 1_000,
    "65 levels": "[" * 65 + "]" * 65,
    "NaN": "NaN",
    "infinity": "-Infinity",
    "1e400": "1e400",
    "1e400 deep inside": '{"a":[1e400]}',
    "5,000 digits": "9" * 5_000,
    "2^64": str(2**64),
    "below -2^63": str(-(2**63) - 1),
    "leading zero": "01",
    "trailing comma": "[1,]",
}


@pytest.mark.parametrize("what", BAD_MSGPACK_BODIES)
async def test_a_bad_messagepack_body_is_refused(attacker: Peer, what: str) -> None:
    conv = await own_group(attacker)
    fields = {"t": "send", "id": 7, "conv": conv, "cid": "c", "body": Raw(BAD_MSGPACK_BODIES[what])}
    assert_refused(await error_to(attacker, packed(fields)), "bad_frame")
    await assert_nothing_stored(attacker, conv)


@pytest.mark.parametrize("what", BAD_JSON_BODIES)
async def test_a_bad_json_body_is_refused(json_attacker: Peer, what: str) -> None:
    conv = await own_group(json_attacker)
    frame = f'{{"t":"send","id":7,"conv":"{conv}","cid":"c","body":{BAD_JSON_BODIES[what]}}}'
    assert_refused(await error_to(json_attacker, frame), "bad_frame")
    await assert_nothing_stored(json_attacker, conv)


async def assert_nothing_stored(peer: Peer, conv: str) -> None:
    events = (await peer.request("history", conv=conv, after=0))["events"]
    assert [event["kind"] for event in events] == ["group_created"]


@pytest.mark.parametrize("depth", [1_000, 100_000])
async def test_too_deep_says_how_deep_is_allowed(attacker: Peer, depth: int) -> None:
    conv = await own_group(attacker)
    body = Raw(b"\x91" * depth + b"\xc0")
    error = await error_to(
        attacker, packed({"t": "send", "id": 7, "conv": conv, "cid": "c", "body": body})
    )
    assert_refused(error, "bad_frame", "64 levels")


async def test_a_body_of_64_levels_is_taken(attacker: Peer) -> None:
    conv = await own_group(attacker)
    body: Any = 1
    for _ in range(64):
        body = [body]
    sent = await attacker.send(conv, body)
    assert (await attacker.until_seq(conv, sent["seq"]))[-1]["body"] == body


async def test_a_bad_signal_body_is_refused(attacker: Peer) -> None:
    conv = await own_group(attacker)
    fields = {"t": "signal", "conv": conv, "key": "k", "body": Raw(b"\xa2\xff\xfe")}
    assert_refused(await error_to(attacker, packed(fields)), "bad_frame")
    await assert_still_open(attacker)


async def test_a_body_of_the_limit_is_taken_and_arrives_whole(attacker: Peer) -> None:
    conv = await own_group(attacker)
    body = secrets.token_bytes(BODY_MAX - 5)  # 5 bytes of MessagePack before it
    sent = await attacker.send(conv, body)
    assert (await attacker.until_seq(conv, sent["seq"]))[-1]["body"] == body


async def test_a_body_one_byte_over_the_limit_is_refused_with_the_limit(attacker: Peer) -> None:
    conv = await own_group(attacker)
    error = await attacker.refusal("send", conv=conv, cid="c", body=bytes(BODY_MAX - 4))
    assert_refused(error, "too_large", str(BODY_MAX))
    await assert_nothing_stored(attacker, conv)


async def test_the_limit_of_a_json_body_counts_its_messagepack(json_attacker: Peer) -> None:
    conv = await own_group(json_attacker)
    sent = await json_attacker.send(conv, "x" * (BODY_MAX - 5))
    assert sent["seq"] == 2
    error = await json_attacker.refusal("send", conv=conv, cid="c", body="x" * (BODY_MAX - 4))
    assert_refused(error, "too_large", str(BODY_MAX))


async def test_a_signal_over_the_body_limit_is_refused(attacker: Peer) -> None:
    conv = await own_group(attacker)
    frame = {"t": "signal", "conv": conv, "key": "k", "body": bytes(BODY_MAX)}
    assert_refused(await error_to(attacker, msgpack.packb(frame)), "too_large", str(BODY_MAX))


async def test_a_frame_of_the_limit_is_read(attacker: Peer) -> None:
    frame: Frame = {"t": "ping", "id": 5, "pad": b""}
    pad = FRAME_MAX - len(msgpack.packb(frame)) - 3
    await attacker.socket.send(msgpack.packb({**frame, "pad": bytes(pad)}))
    assert (await attacker.read())["t"] == "pong"


async def test_a_frame_over_the_limit_ends_the_connection_with_too_big(attacker: Peer) -> None:
    await attacker.socket.send(bytes(FRAME_MAX + 1))
    assert await attacker.until_closed() == 1009
    told = [error["message"] for error in attacker.errors if error["code"] == "too_large"]
    assert str(FRAME_MAX) in (*told, attacker.socket.close_reason or "")[0]


# Names and values.

BAD_NAMES = {
    "empty": "",
    "space": "a b",
    "begins with a space": " a",
    "path": "../etc/passwd",
    "slash": "a/b",
    "a conversation": "g/a",
    "umlaut": "ärm",
    "cyrillic a": "\u0430rm",
    "65 characters": "a" * 65,
    "10,000 characters": "a" * 10_000,
    "begins with a dash": "-a",
    "begins with a dot": ".a",
    "new line at the end": "a\n",
    "nul": "a\x00",
    "right to left": "a\u202eb",
    "sql": "a'; DROP TABLE events;--",
    "log line": 'a\n{"level":"error"}',
    "template": "{{7*7}}",
    "html": "<script>",
    "the server's mark": "@a",
}


@pytest.mark.parametrize("what", BAD_NAMES)
async def test_a_group_with_a_bad_name_is_refused_with_the_rule(attacker: Peer, what: str) -> None:
    error = await attacker.refusal("create_group", name=BAD_NAMES[what])
    assert_refused(error, "bad_frame", NAME_RULE)
    await assert_still_open(attacker)


@pytest.mark.parametrize("what", BAD_NAMES)
async def test_a_hello_with_a_bad_name_is_refused_with_the_rule(gang: Fleet, what: str) -> None:
    for field in ("robot", "device"):
        peer = await gang.stranger()
        await peer.write({"t": "hello", "robot": "r1", field: BAD_NAMES[what]})
        assert_refused(await peer.read(), "bad_frame", NAME_RULE, field)


@pytest.mark.parametrize("what", BAD_NAMES)
async def test_a_registration_of_a_bad_name_is_refused_with_the_rule(
    gang: Fleet, what: str
) -> None:
    peer = await gang.stranger()
    token = gang.server.enroll(gang.name("r1"))
    error = await peer.refusal(
        "register", robot=BAD_NAMES[what], token=token, public_key=bytes(range(32))
    )
    assert_refused(error, "bad_frame", NAME_RULE)


@pytest.mark.parametrize("what", [name for name in BAD_NAMES if name != "empty"])
async def test_a_kind_with_a_bad_name_is_refused(attacker: Peer, what: str) -> None:
    conv = await own_group(attacker)
    error = await attacker.refusal("send", conv=conv, cid="c", body=0, kind=BAD_NAMES[what])
    assert_refused(error, "bad_frame")


@pytest.mark.parametrize(
    "conv",
    ["", "g", "g/", "g//", "/g/a", "x/a", "G/a", "d/a", "d/a/a", "d/b/a", "d/a/b/c", "g/a/b",
     "g/../a", "g/a\n", "g/" + "a" * 65, "d/a/", "*", "g/*", "g/a\x00b"],
)  # fmt: skip
async def test_a_conversation_with_a_bad_name_is_refused(attacker: Peer, conv: str) -> None:
    error = await attacker.refusal("send", conv=conv, cid="c", body=0)
    assert_refused(error, "bad_frame")
    assert_refused(await attacker.refusal("history", conv=conv), "bad_frame")
    await assert_still_open(attacker)


async def test_a_direct_line_in_the_wrong_order_is_told_the_right_one(attacker: Peer) -> None:
    error = await attacker.refusal("send", conv="d/b/a", cid="c", body=0)
    assert_refused(error, "bad_frame", "d/a/b")


async def test_an_observer_who_sends_is_told_its_role(gang: Fleet, attacker: Peer) -> None:
    owner = await gang.online("owner")
    conv = await gang.group(owner)
    await owner.request("add_members", conv=conv, robots=[attacker.robot], role="observer")
    error = await attacker.refusal("send", conv=conv, cid="c", body=0)
    assert_refused(error, "forbidden", "observer", "member")


@pytest.mark.parametrize(
    ("cid", "hint"), [(None, "cid"), ("", "cid"), ("x" * 65, "cid"), ("@x", "@")], ids=repr
)
async def test_a_send_without_a_good_cid_is_refused(
    attacker: Peer, cid: str | None, hint: str
) -> None:
    conv = await own_group(attacker)
    fields = {} if cid is None else {"cid": cid}
    error = await attacker.refusal("send", conv=conv, body=0, **fields)
    assert_refused(error, "bad_frame", hint)
    await assert_nothing_stored(attacker, conv)


@pytest.mark.parametrize(
    "cid", ["x" * 64, " ", "$gt", "'; --", "\x00", "☃" * 64, '{"$ne":1}', "../..", "\n"], ids=repr
)
async def test_any_other_cid_is_taken_as_it_is(attacker: Peer, cid: str) -> None:
    conv = await own_group(attacker)
    for _ in range(2):
        sent = await attacker.send(conv, 0, cid=cid)
    assert (sent["dup"], sent["seq"]) == (True, 2)
    assert (await attacker.until_seq(conv, 2))[-1]["cid"] == cid


@pytest.mark.parametrize(
    "kind",
    ["group_created", "group_deleted", "members_added", "members_removed", "role_changed"],
)
async def test_kinds_of_the_server_cannot_be_sent(attacker: Peer, kind: str) -> None:
    conv = await own_group(attacker)
    body = {"robots": ["x"], "role": "owner", "members": {"x": "owner"}, "open": True, "robot": "x"}
    error = await attacker.refusal("send", conv=conv, cid="c", kind=kind, body=body)
    assert_refused(error, "forbidden", kind)
    await assert_nothing_stored(attacker, conv)


async def test_streams_and_receipts_are_not_offered_yet_and_say_so(attacker: Peer) -> None:
    conv = await own_group(attacker)
    frames: list[Frame] = [
        {"t": "stop", "seq": 1, "seen": 0},
        {"t": "send", "cid": "c", "kind": "stream", "body": 0},
        {"t": "send", "cid": "c", "require": "all", "body": 0},
        {"t": "send", "cid": "c", "targets": ["r1"], "body": 0},
    ]
    for frame in frames:
        assert_refused(await attacker.refusal(**frame, conv=conv), "unsupported")


@pytest.mark.parametrize("seq", [-1, 2**53, 2**53 + 1, 2**63, 2**64 - 1, 1.0, "1", True, None])
async def test_an_ack_of_no_seq_is_refused(attacker: Peer, seq: Any) -> None:
    conv = await own_group(attacker)
    error = await error_to(attacker, msgpack.packb({"t": "ack", "conv": conv, "seq": seq}))
    assert_refused(error, "bad_frame", "seq")


@pytest.mark.parametrize("seq", [-1, 2**53, 2**63, "newest", 1.5, None])
async def test_following_after_no_seq_is_refused(attacker: Peer, seq: Any) -> None:
    conv = await own_group(attacker)
    assert_refused(await attacker.refusal("follow", conv=conv, after=seq), "bad_frame", "after")


@pytest.mark.parametrize("seq", [-1, 2**53, 2**63, "newest", 1.5])
async def test_history_from_no_seq_is_refused(attacker: Peer, seq: Any) -> None:
    conv = await own_group(attacker)
    assert_refused(await attacker.refusal("history", conv=conv, after=seq), "bad_frame", "after")


@pytest.mark.parametrize("limit", [0, -1, 2**63, 10**9])
async def test_a_page_of_no_size_is_refused(attacker: Peer, limit: int) -> None:
    conv = await own_group(attacker)
    error = await attacker.refusal("history", conv=conv, limit=limit)
    assert_refused(error, {"bad_frame", "too_large"}, "limit")


async def test_following_from_beyond_the_head_hides_nothing(gang: Fleet) -> None:
    robot = await gang.online("r1", auto=False)
    conv = await gang.group(robot)
    await robot.request("follow", conv=conv, after=2**53 - 1)
    sent = await robot.send(conv, "new")
    assert [event["seq"] for event in await robot.until_seq(conv, sent["seq"])] == [2]


async def test_resume_with_ten_thousand_conversations_harms_nobody(gang: Fleet) -> None:
    peer = await gang.stranger()
    name = gang.name("r1")
    resume = {f"g/none{number}": {"epoch": "x", "seq": number} for number in range(5_000)}
    token = gang.server.token(name)
    welcome = await peer.hello(name, key=None, token=token, resume=resume)
    assert welcome["conversations"] == []


async def test_a_list_of_too_many_members_is_refused(attacker: Peer) -> None:
    robots = [f"r{number}" for number in range(10_001)]
    error = await attacker.refusal("create_group", name="many", members=robots)
    assert_refused(error, {"too_large", "not_found"})


async def test_an_error_quotes_no_more_than_a_little_of_what_was_sent(attacker: Peer) -> None:
    for t, field in (("create_group", "name"), ("join", "conv")):
        error = await attacker.refusal(t, **{field: "A" * 100_000})
        assert len(error["message"]) < 400


async def test_a_json_number_that_is_not_whole_is_no_seq(json_attacker: Peer) -> None:
    conv = await own_group(json_attacker)
    error = await error_to(json_attacker, json.dumps({"t": "ack", "conv": conv, "seq": 1.5}))
    assert_refused(error, "bad_frame", "seq")
