"""Messages, whichever door they come in by and go out of: one log for all."""

import base64
from typing import Any

from tests.e2e.every_door.company import Company, agree, pages_of, plain, shown
from tests.e2e.every_door.member import Member
from tests.e2e.wire import together

EACH = 25
BODIES: list[Any] = [
    None,
    False,
    0,
    -(2**63),
    2**64 - 1,
    1.5,
    "",
    "a\x00b\u2028c\x85d\r\n\n\u202e",
    [],
    {"1": {"": [1, -2.5, None, True, {"ключ": "🤖"}]}},
]


async def test_all_send_at_once_and_all_read_one_log(company: Company) -> None:
    robots = await company.everybody()
    conv = await company.group(*robots)

    async def speak(robot: Member) -> list[int]:
        places = []
        for number in range(EACH):
            places.append((await robot.send(conv, [robot.name, number]))["seq"])
            if number % 5 == 0:
                await robot.until(conv, places[-1])  # while the others go on
        return places

    places = await together(*map(speak, robots))
    head = 1 + EACH * len(robots)
    log = await agree(conv, *robots)
    assert sorted(seq for seqs in places for seq in seqs) == list(range(2, head + 1))
    for robot in robots:
        said = [body[1] for *_, body in log if isinstance(body, list) and body[0] == robot.name]
        assert said == list(range(EACH)), "what one robot sends keeps its order"


async def test_any_value_comes_back_as_it_was_by_every_door(company: Company) -> None:
    robots = await company.everybody()
    conv = await company.group(*robots)
    for body in BODIES:
        await robots[0].send(conv, body)
        await robots[-1].send(conv, body)
    log = await agree(conv, *robots)
    assert [body for *_, body in log[1:-1]] == [body for body in BODIES for _ in range(2)]


async def test_an_event_tells_who_sent_what_and_where_it_stands(company: Company) -> None:
    robots = await company.everybody()
    conv = await company.group(*robots)
    first = await robots[0].send(conv, "first")
    fields = {"cid": "täg-1", "kind": "command", "ref": first["seq"]}
    sent = await robots[1].send(conv, {"shelf": 7}, **fields)
    for robot in robots:
        event = (await robot.until(conv, sent["seq"]))[-1]
        assert shown(event) == (
            *(sent["seq"], sent["ts"], robots[1].name, "täg-1", "command"),
            *(first["seq"], {"shelf": 7}),
        )


async def test_the_same_cid_again_is_the_same_event_also_after_the_connection_was_lost(
    company: Company,
) -> None:
    one, other, *_ = await company.everybody()
    conv = await company.group(one, other)
    answers = [await one.send(conv, "once", cid="c-1"), await one.send(conv, "once", cid="c-1")]
    await one.vanish()
    await one.come()
    answers.append(await one.send(conv, "once", cid="c-1"))
    assert [answer["dup"] for answer in answers] == [False, True, True]
    assert len({(a["conv"], a["epoch"], a["seq"], a["ts"]) for a in answers}) == 1
    theirs = await other.send(conv, "mine", cid="c-1")
    assert (theirs["dup"], theirs["seq"]) == (False, answers[0]["seq"] + 1)
    log = await agree(conv, one, other)
    assert [cid for _, _, _, cid, *_ in log].count("c-1") == 2


async def test_the_largest_body_passes_every_door_and_one_byte_more_is_refused(
    company: Company,
) -> None:
    robots = await company.everybody()
    conv = await company.group(*robots)
    header = 5  # of a text as long as that, in MessagePack
    largest = "x" * (256 * 1024 - header)
    for robot in robots:
        await robot.send(conv, largest)
        code = await robot.refused_with("send", conv=conv, cid="more", body=largest + "x")
        assert code == "too_large"
    log = await agree(conv, *robots)
    assert [body for *_, body in log[1:-1]] == [largest] * len(robots)


async def test_bytes_become_base64_where_there_are_none(company: Company) -> None:
    robots = await company.everybody()
    conv = await company.group(*robots)
    raw = bytes(range(256)) * 5
    for robot in robots:
        body = {"image": raw} if robot.has_bytes else {"image": base64.b64encode(raw).decode()}
        await robot.send(conv, body)
    await agree(conv, *robots)
    for robot in robots:
        for sender, event in zip(robots, robot.logs[conv][1:], strict=False):
            is_bytes = robot.has_bytes and sender.has_bytes
            assert isinstance(event["body"]["image"], bytes if is_bytes else str)
            assert plain(event["body"]) == plain({"image": raw})


async def test_edits_and_redactions_are_events_and_pages_of_messages_fold_them_in(
    company: Company,
) -> None:
    robots = await company.everybody()
    one, other = robots[0], robots[-1]
    conv = await company.group(*robots)
    first, second = await one.send(conv, "frist"), await other.send(conv, "my secret")
    await one.send(conv, "first", kind="edit", ref=first["seq"])
    await other.send(conv, None, kind="redact", ref=second["seq"])
    log = await agree(conv, *robots)
    assert [(kind, ref) for _, _, _, _, kind, ref, _ in log[1:-1]] == [
        ("message", None),
        ("message", None),
        ("edit", first["seq"]),
        ("redact", second["seq"]),
    ]
    views = [await robot.ask("history", conv=conv, after=1, view="messages") for robot in robots]
    for view in views:
        assert [(event["seq"], event["body"]) for event in view] == [
            (first["seq"], "first"),
            (second["seq"], None),
            (len(log), "the end"),
        ]
        assert [shown(event) for event in view] == [shown(event) for event in views[0]]


async def test_history_is_read_in_both_directions(company: Company) -> None:
    robots = await company.everybody()
    conv = await company.group(*robots)
    for number in range(10):
        await robots[number % len(robots)].send(conv, number)
    for robot in robots:
        ends: list[list[int]] = []
        before: dict[str, int] = {}
        while page := await robot.ask("history", conv=conv, limit=4, **before):
            ends.append([event["seq"] for event in page])
            before = {"before": ends[-1][0]}
        assert ends == [[8, 9, 10, 11], [4, 5, 6, 7], [1, 2, 3]]
        assert [event["seq"] for event in await pages_of(robot, conv)] == list(range(1, 12))


async def test_a_direct_line_is_there_with_its_first_message_and_for_two_alone(
    company: Company,
) -> None:
    one, other, third, *_ = await company.everybody()
    conv = "d/" + "/".join(sorted([one.name, other.name]))
    before = await third.refused_with("history", conv=conv)
    assert (await one.send(conv, "hello"))["seq"] == 1
    assert (await other.send(conv, "hi"))["seq"] == 2
    log = await agree(conv, one, other)
    assert [body for *_, body in log] == ["hello", "hi", "the end"]
    assert await third.refused_with("history", conv=conv) == before == "not_found"
    assert await third.refused_with("send", conv=conv, cid="x", body=0) == "not_found"


async def test_signals_reach_members_and_nobody_else_and_are_not_kept(company: Company) -> None:
    robots = await company.everybody()
    speaker, stranger = robots[0], await company.member("stranger")
    conv = await company.group(*robots)
    readers = [robot for robot in robots[1:] if robot.hears_signals]
    for robot in readers:
        await robot.until(conv, 1)
    await speaker.signal(conv, "pose", {"x": 1.5})
    await speaker.signal(conv, "pose", {"x": 2.5})
    for robot in readers:
        told = await robot.until_signal(conv, lambda signal: signal["body"] == {"x": 2.5})
        assert (told["conv"], told["sender"], told["key"]) == (conv, speaker.name, "pose")
        revisions = [each["rev"] for each in robot.signals if each["key"] == "pose"]
        assert revisions == sorted(set(revisions))
    assert await stranger.refused_with("signal", conv=conv, key="pose", body=0) == "not_found"
    assert await speaker.refused_with("signal", conv=conv, key="@pose", body=0) == "forbidden"
    assert len(await pages_of(speaker, conv)) == 1
