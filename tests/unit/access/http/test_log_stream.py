"""Streams: the log as it is, live, resumed, and to its end."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from imserver.access.http.log_stream import GOODBYE_TICKS_MAX
from imserver.access.http.visit import session_for
from imserver.core.http_settings import HttpSettings
from imserver.core.settings import DeliverySettings, Settings
from imserver.core.warrant import Warrant
from imserver.protocol.names import ConversationName, RobotName
from tests.unit.access.http.api_in_memory import Api, api_in_memory
from tests.unit.access.http.streaming import Follower, follow

DOCK = "/v1/groups/dock"
CONV = ConversationName("g/dock")


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    settings = Settings(
        http=HttpSettings(stays_max=3, heartbeat_s=5),
        delivery=DeliverySettings(page_bytes_max=1_024, tail_bytes_max=1_024),
    )
    async with api_in_memory(settings) as api:
        yield api
        api.node.node.stays.drain()
        await api.node.settle()


async def say(api: Api, *bodies: object) -> None:
    """Send events, one after the other."""
    for body in bodies:
        api.node.ids.count += 1
        answer = await api.send("r1", DOCK, body, key=f"c{api.node.ids.count}")
        assert answer.status == 201


async def settled(api: Api, follower: Follower, seqs: list[int]) -> None:
    """Return when a follower has these events, and see that no others come."""
    await follower.until(lambda: follower.seqs == seqs)
    await api.node.settle()
    assert follower.seqs == seqs


async def test_a_stream_begins_with_the_first_event_and_goes_on_live(api: Api):
    await say(api, "a", "b")
    stream = await follow(api)
    await settled(api, stream, [1, 2, 3])
    await say(api, "c")
    await settled(api, stream, [1, 2, 3, 4])
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert [said.data["body"] for said in stream.messages[1:]] == ["a", "b", "c"]


async def test_the_data_of_an_event_is_the_event_of_a_page(api: Api):
    await say(api, {"deep": [1, {"ü": None}]})
    stream = await follow(api, "after=1")
    await settled(api, stream, [2])
    page = await api.ask("GET", f"{DOCK}/events?after=1", robot="r2")
    assert [said.data for said in stream.messages] == page.json["events"]


async def test_a_stream_may_begin_behind_a_place(api: Api):
    await say(api, "a", "b", "c")
    await settled(api, await follow(api, "after=2"), [3, 4])


async def test_a_stream_may_begin_with_what_comes(api: Api):
    await say(api, "a")
    stream = await follow(api, "after=latest")
    await say(api, "b")
    await settled(api, stream, [3])


@pytest.mark.parametrize("query", ["", "after=1", "after=latest"])
async def test_the_last_id_resumes_whatever_the_address_says(api: Api, query: str):
    await say(api, "a", "b", "c")
    stream = await follow(api, query, headers={"Last-Event-ID": "2"})
    await settled(api, stream, [3, 4])


async def test_a_stream_that_is_cut_anywhere_is_resumed_without_gap_or_double(api: Api):
    log: list[int] = []
    last_id = "0"
    for number in range(8):
        stream = await follow(api, headers={"Last-Event-ID": last_id})
        await say(api, *range(number))
        head = 1 + sum(range(number + 1))
        await stream.until(lambda: stream.seqs and stream.seqs[-1] >= head - 1)  # noqa: B023
        stream.lose()
        log += stream.seqs
        last_id = stream.messages[-1].id
    assert log == list(range(1, len(log) + 1))


async def test_a_long_log_comes_in_order_and_whole(api: Api):
    await say(api, *("x" * 300 for _ in range(30)))
    stream = await follow(api)
    await say(api, *("y" * 300 for _ in range(10)))
    await settled(api, stream, list(range(1, 42)))


async def test_a_body_that_could_break_a_line_stays_in_its_line(api: Api):
    hostile = "a\nb\rc\r\nd\u2028e\u2029f\x85g\x0bh\x0ci\x1cj\0k data: x\n\nid: 99\n\n"
    await say(api, hostile)
    stream = await follow(api, "after=1")
    await settled(api, stream, [2])
    assert stream.messages[0].data["body"] == hostile
    assert not set(stream.text) & set("\r\u2028\u2029\x85\x0b\x0c\x1c\0")


async def test_an_idle_stream_shows_that_it_is_there_by_comments(api: Api):
    stream = await follow(api, "after=latest")
    before = stream.text
    stream.tick(4)
    await api.node.settle()
    assert stream.text == before
    stream.tick(1)
    await stream.until(lambda: stream.text != before)
    assert stream.text.removeprefix(before) == ":\n\n"
    assert stream.said == []


async def test_an_event_counts_as_a_sign_of_life(api: Api):
    stream = await follow(api, "after=latest")
    stream.tick(4)
    await say(api, "a")
    await settled(api, stream, [2])
    stream.tick(4)
    await api.node.settle()
    assert ":\n\n" not in stream.text


async def test_a_stream_says_when_to_come_back(api: Api):
    stream = await follow(api)
    await stream.until(lambda: stream.said)
    retry = stream.text.partition("\n")[0]
    assert retry.startswith("retry: ")
    assert 500 <= int(retry.removeprefix("retry: ")) <= 1_500


async def test_events_that_were_let_go_are_a_gap(api: Api):
    await say(api, "a", "b", "c")
    await api.node.store.trim(CONV, 3, limit=10)
    conversation = await api.node.node.conversations.load(CONV)
    assert conversation is not None
    await api.node.node.conversations.learn_log(conversation)
    stream = await follow(api)
    await settled(api, stream, [3, 4])
    gap = stream.said[0]
    assert gap.type == "gap"
    assert gap.id == "2"
    assert gap.data["why"] == "retention"
    assert (gap.data["from"], gap.data["to"], gap.data["count"]) == (1, 2, 2)


async def test_who_has_seen_more_than_the_head_is_told_and_goes_on_from_there(api: Api):
    stream = await follow(api, headers={"Last-Event-ID": "9"})
    await stream.until(lambda: stream.said)
    await say(api, "a")
    await settled(api, stream, [2])
    gap = stream.said[0]
    assert (gap.type, gap.id, gap.data["why"]) == ("gap", "1", "ahead")
    assert (gap.data["from"], gap.data["to"], gap.data["count"]) == (2, 9, 8)


async def test_another_epoch_than_the_logs_is_told_instead_of_a_stream(api: Api):
    answer = await api.ask("GET", f"{DOCK}/events/stream?epoch=before", robot="r2")
    assert (answer.status, answer.code) == (409, "epoch_changed")


@pytest.mark.parametrize("last_id", ["x", "-1", "1.5", "9" * 20, "²"])
async def test_a_last_id_that_is_none_is_refused(api: Api, last_id: str):
    headers = {"Last-Event-ID": last_id}
    answer = await api.ask("GET", f"{DOCK}/events/stream", robot="r2", headers=headers)
    assert (answer.status, answer.code) == (400, "bad_frame")


@pytest.mark.parametrize("query", ["after=x", "after=-1", "policy=none", "signals=perhaps"])
async def test_a_stream_that_cannot_be_is_refused(api: Api, query: str):
    answer = await api.ask("GET", f"{DOCK}/events/stream?{query}", robot="r2")
    assert (answer.status, answer.code) == (400, "bad_frame")


async def test_a_stranger_follows_nothing(api: Api):
    hidden = await api.ask("GET", f"{DOCK}/events/stream", robot="r3")
    missing = await api.ask("GET", "/v1/groups/d0ck/events/stream", robot="r3")
    assert hidden.status == missing.status == 404
    assert hidden.body == missing.body.replace(b"d0ck", b"dock")


async def test_a_direct_line_is_followed_as_a_group_is(api: Api):
    await api.send("r1", "/v1/direct/r1/r2", "hi", key="c1")
    stream = await follow(api, conversation="/v1/direct/r1/r2")
    await settled(api, stream, [1])


async def test_a_robot_that_is_removed_before_its_stream_has_begun_reads_nothing(api: Api):
    token = api.node.bearer_token("r2")
    headers = {"authorization": f"Bearer {token}"}
    stream = Follower(api, "/v1/groups/dock/events/stream", headers)
    stream.block()  # as a client does that has not taken the answer before this one
    for _ in range(100):
        await asyncio.sleep(0)
    owner = session_for(Warrant(RobotName("r1"), 0))
    await api.node.node.cases.groups.remove(owner, "g/dock", ["r2"])
    stream.take()
    await stream.end()
    assert stream.messages == [] and len(stream.of("bye")) == 1


async def test_a_robot_that_is_removed_learns_that_and_the_stream_ends(api: Api):
    stream = await follow(api)
    owner = session_for(Warrant(RobotName("r1"), 0))
    await api.node.node.cases.groups.remove(owner, "g/dock", ["r2"])
    await say(api, "secret")
    await stream.end()
    assert [said.data["kind"] for said in stream.messages] == ["group_created", "members_removed"]
    assert stream.of("bye")[0]["code"] == 1008
    again = await api.ask("GET", f"{DOCK}/events/stream", robot="r2")
    assert again.code == "not_found"


async def test_a_stream_ends_with_its_group(api: Api):
    stream = await follow(api)
    owner = session_for(Warrant(RobotName("r1"), 0))
    await api.node.node.cases.groups.delete(owner, "g/dock")
    await stream.end()
    assert stream.messages[-1].data["kind"] == "group_deleted"


async def test_a_stream_ends_with_the_token_that_opened_it(api: Api):
    stream = await follow(api)
    api.node.clock.ms += 3_600_000 - 1
    stream.tick()
    assert not stream.of("bye")
    api.node.clock.ms += 1
    stream.tick()
    await stream.end()
    assert stream.of("bye")[0]["code"] == 4201


async def test_a_node_that_stops_ends_its_streams_with_everything_said(api: Api):
    stream = await follow(api)
    await say(api, "a")
    api.node.node.stays.drain()
    await stream.end()
    assert stream.seqs == [1, 2]
    assert stream.of("bye") == [
        {"code": 4100, "reason": stream.of("bye")[0]["reason"], "retry_after": 1_000}
    ]
    assert "\nretry: 1000\nevent: bye\n" in stream.text
    late = await follow(api)
    await late.end()
    assert [said.type for said in late.said] == ["bye"]


async def test_a_client_that_takes_nothing_does_not_hold_up_a_node_that_stops(api: Api):
    stream = await follow(api)
    await settled(api, stream, [1])
    stream.block()
    await say(api, "a")
    await api.node.settle()
    api.node.node.stays.drain()
    assert all(stream.tick() for _ in range(GOODBYE_TICKS_MAX - 1))
    assert not stream.tick(), "the connection is given up"
    stream.lose()
    stream.take()
    await stream.end()


async def test_a_robot_has_only_so_many_streams_at_a_time(api: Api):
    streams = [await follow(api) for _ in range(3)]
    refused = await api.ask("GET", f"{DOCK}/events/stream", robot="r2")
    other = await follow(api, robot="r1")
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert other.status == 200
    streams[0].lose()
    await streams[0].end()
    assert (await follow(api)).status == 200


async def test_a_client_that_is_gone_is_forgotten(api: Api):
    stream = await follow(api)
    stream.lose()
    await stream.end()
    conversation = api.node.node.conversations.peek("g/dock")
    assert conversation is not None
    assert not conversation.readers
    assert len(api.node.node.stays) == 0


async def test_a_stream_brings_nobody_online(api: Api):
    await follow(api)
    answer = await api.ask("GET", "/v1/robots/r2", robot="r1")
    assert answer.json["online"] is False
    assert len(api.node.node.sessions) == 0


async def test_signals_come_when_they_are_asked_for(api: Api):
    with_signals = await follow(api, "signals=true")
    without = await follow(api)
    body = {"key": "battery", "body": {"level": 0.7}}
    await api.ask("POST", f"{DOCK}/signals", robot="r1", body=body)
    await with_signals.until(lambda: with_signals.of("signal"))
    (signal,) = with_signals.of("signal")
    assert signal == {"conv": "g/dock", "sender": "r1", "rev": signal["rev"]} | body
    assert without.of("signal") == []
    assert with_signals.seqs == [1]


# Lines of JSON.

NDJSON = {"Accept": "application/x-ndjson"}


async def test_lines_of_json_come_when_they_are_asked_for(api: Api):
    await say(api, "a\u2028b")
    stream = await follow(api, "signals=true", headers=NDJSON)
    await say(api, "c")
    await stream.until(lambda: stream.text.count("\n") >= 3)
    lines = [json.loads(line) for line in stream.text.splitlines()]
    page = await api.ask("GET", f"{DOCK}/events", robot="r2")
    assert stream.headers["content-type"] == "application/x-ndjson"
    assert lines == page.json["events"]


async def test_what_else_there_is_to_say_has_a_tag_in_lines_of_json(api: Api):
    stream = await follow(api, "after=5&signals=true", headers=NDJSON)
    await api.ask("POST", f"{DOCK}/signals", robot="r1", body={"key": "k", "body": 1})
    await stream.until(lambda: '"signal"' in stream.text)
    stream.tick(5)
    api.node.node.stays.drain()
    await stream.end()
    lines = [json.loads(line) for line in stream.text.split("\n") if line]
    assert [line["t"] for line in lines] == ["gap", "signal", "bye"]
    assert lines[0] | {"epoch": ""} == {
        "t": "gap",
        "conv": "g/dock",
        "epoch": "",
        "from": 2,
        "to": 5,
        "count": 4,
        "why": "ahead",
    }
    assert "\n\n" in stream.text, "an empty line is a sign of life"


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream", "text/*", "text/event-stream, */*"])
async def test_server_sent_events_come_unless_lines_are_asked_for(api: Api, accept: str):
    stream = await follow(api, headers={"Accept": accept})
    assert stream.headers["content-type"].startswith("text/event-stream")


async def test_a_form_that_there_is_not_is_refused(api: Api):
    headers = {"Accept": "application/xml"}
    answer = await api.ask("GET", f"{DOCK}/events/stream", robot="r2", headers=headers)
    assert (answer.status, answer.code) == (406, "unsupported")
