"""Sending and reading over HTTP."""

import asyncio

import msgpack
import pytest

from imserver.access.http.visit import session_for
from imserver.core.errors import StoreFailed, StoreUnavailable
from imserver.core.settings import Settings
from imserver.core.warrant import Warrant
from imserver.protocol.events import Role
from imserver.protocol.limits import Limits
from imserver.protocol.names import ConversationName, RobotName
from tests.unit.access.http.api_in_memory import Api, api_in_memory

DOCK = "/v1/groups/dock"
LINE = "/v1/direct/r1/r2"


async def test_a_new_event_is_answered_with_its_place(api: Api):
    answer = await api.send("r1", DOCK, {"shelf": 7}, key="c1", kind="command", ref=1)
    assert answer.status == 201
    assert answer.json == {
        "conv": "g/dock",
        "epoch": answer.json["epoch"],
        "seq": 2,
        "ts": api.node.clock.ms,
        "dup": False,
    }


async def test_the_same_key_brings_the_first_place_back(api: Api):
    first = await api.send("r1", DOCK, "hi", key="c1")
    again = await api.send("r1", DOCK, "hi", key="c1")
    assert again.status == 200
    assert again.json == first.json | {"dup": True}


async def test_the_same_key_with_another_body_is_a_conflict(api: Api):
    await api.send("r1", DOCK, "hi", key="c1")
    answer = await api.send("r1", DOCK, "ho", key="c1")
    assert (answer.status, answer.code) == (409, "conflict")


async def test_a_key_in_quotes_is_the_text_between_them(api: Api):
    await api.send("r1", DOCK, "hi", key='"a\\"b"')
    page = await api.ask("GET", f"{DOCK}/events?after=1", robot="r1")
    assert [event["cid"] for event in page.json["events"]] == ['a"b']


async def test_a_key_may_be_any_text_in_utf_8(api: Api):
    await api.send("r1", DOCK, "hi", key="пик".encode().decode("latin-1"))
    page = await api.ask("GET", f"{DOCK}/events?after=1", robot="r1")
    assert [event["cid"] for event in page.json["events"]] == ["пик"]


@pytest.mark.parametrize("key", ["", "x" * 65, "\xff", '""'])
async def test_a_key_that_can_be_no_cid_is_refused(api: Api, key: str):
    answer = await api.send("r1", DOCK, "hi", key=key)
    assert (answer.status, answer.code) == (400, "bad_frame")
    assert "Idempotency-Key" in answer.json["detail"]


async def test_a_word_that_is_none_is_refused_with_where_the_right_ones_stand(api: Api):
    page = await api.ask("GET", f"{DOCK}/events?view=all", robot="r1")
    role = await api.ask("PUT", f"{DOCK}/members/r2", robot="r1", body={"role": "king"})
    for answer in (page, role):
        assert (answer.status, answer.code) == (400, "bad_frame")
        assert "/schema lists what it may be" in answer.json["detail"]


async def test_an_event_without_key_is_refused(api: Api):
    answer = await api.ask("POST", f"{DOCK}/events", robot="r1", body={"body": "hi"})
    assert (answer.status, answer.code) == (400, "bad_frame")
    assert "Idempotency-Key" in answer.json["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"body": 1, "ref": "1"},
        {"body": 1, "ref": True},
        {"body": 1, "ref": -1},
        {"body": 1, "kind": ""},
        {"body": 1, "kind": 7},
        {"body": 2**64},
    ],
)
async def test_a_body_that_breaks_the_protocol_is_refused(api: Api, body: object):
    answer = await api.ask(
        "POST", f"{DOCK}/events", robot="r1", body=body, headers={"Idempotency-Key": "c"}
    )
    assert (answer.status, answer.code) == (400, "bad_frame")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b'{"body": NaN}', b'{"body": 1} x', b"[" * 100_000]
)
async def test_what_is_not_json_is_refused(api: Api, text: bytes):
    answer = await api.ask(
        "POST", f"{DOCK}/events", robot="r1", chunks=[text], headers={"Idempotency-Key": "c"}
    )
    assert (answer.status, answer.code) == (400, "bad_frame")


async def test_a_body_over_the_limit_is_refused():
    limits = Limits(body_bytes_max=100, frame_bytes_max=1_000)
    async with api_in_memory(Settings(limits=limits)) as api:
        fits = await api.send("r1", DOCK, "x" * 98, key="c1")
        assert len(msgpack.packb("x" * 98)) == 100
        answer = await api.send("r1", DOCK, "x" * 99, key="c2")
    assert fits.status == 201
    assert (answer.status, answer.code) == (413, "too_large")


async def test_a_request_over_the_limit_is_refused_before_it_is_read():
    limits = Limits(body_bytes_max=100, frame_bytes_max=1_000)
    async with api_in_memory(Settings(limits=limits)) as api:
        chunks = [b"x" * 500] * 100
        headers = {"Idempotency-Key": "c", "Transfer-Encoding": "chunked", "Content-Length": "1"}
        answer = await api.ask("POST", f"{DOCK}/events", robot="r1", chunks=chunks, headers=headers)
        assert len(chunks) >= 96, "what is over the limit is not taken in"
    assert (answer.status, answer.code) == (413, "too_large")


async def test_a_direct_line_exists_from_its_first_event(api: Api):
    before = await api.ask("GET", f"{LINE}/events", robot="r2")
    sent = await api.send("r1", LINE, "hi", key="c1")
    after = await api.ask("GET", f"{LINE}/events", robot="r2")
    assert before.code == "not_found"
    assert sent.json["conv"] == "d/r1/r2"
    assert [event["body"] for event in after.json["events"]] == ["hi"]


async def test_a_direct_line_may_be_named_from_either_side(api: Api):
    sent = await api.send("r2", "/v1/direct/r2/r1", "hi", key="c1")
    assert sent.json["conv"] == "d/r1/r2"


async def test_a_stranger_to_a_direct_line_finds_nothing(api: Api):
    await api.send("r1", LINE, "hi", key="c1")
    answer = await api.ask("GET", f"{LINE}/events", robot="r3")
    assert (answer.status, answer.code) == (404, "not_found")


async def test_missing_and_forbidden_look_the_same(api: Api):
    forbidden = await api.ask("GET", f"{DOCK}/events", robot="r3")
    missing = await api.ask("GET", "/v1/groups/d0ck/events", robot="r3")
    assert forbidden.status == missing.status == 404
    assert forbidden.body == missing.body.replace(b"d0ck", b"dock")


async def test_a_page_tells_events_epoch_and_head(api: Api):
    sent = await api.send("r1", DOCK, {"a": [1, None, "ü"]}, key="c1", ref=1)
    await api.send("r1", DOCK, "more", key="c2")
    page = await api.ask("GET", f"{DOCK}/events?after=1&limit=1", robot="r2")
    assert page.json == {
        "conv": "g/dock",
        "epoch": sent.json["epoch"],
        "seq": 3,
        "events": [
            {
                "seq": 2,
                "ts": api.node.clock.ms,
                "sender": "r1",
                "cid": "c1",
                "kind": "message",
                "body": {"a": [1, None, "ü"]},
                "ref": 1,
            }
        ],
    }


async def test_a_page_without_a_place_is_the_end_of_the_log(api: Api):
    for number in range(3):
        await api.send("r1", DOCK, number, key=f"c{number}")
    end = await api.ask("GET", f"{DOCK}/events?limit=2", robot="r2")
    before = await api.ask("GET", f"{DOCK}/events?limit=2&before=3", robot="r2")
    assert [event["seq"] for event in end.json["events"]] == [3, 4]
    assert [event["seq"] for event in before.json["events"]] == [1, 2]


async def test_the_view_of_messages_folds_edits_in(api: Api):
    await api.send("r1", DOCK, "helo", key="c1")
    await api.send("r1", DOCK, "hello", key="c2", kind="edit", ref=2)
    page = await api.ask("GET", f"{DOCK}/events?after=1&view=messages", robot="r2")
    assert [(event["seq"], event["body"]) for event in page.json["events"]] == [(2, "hello")]


async def test_a_page_tells_what_was_let_go_before_it(api: Api):
    for number in range(3):
        await api.send("r1", DOCK, number, key=f"c{number}")
    await api.node.store.trim(ConversationName("g/dock"), 3, limit=10)
    page = await api.ask("GET", f"{DOCK}/events?after=0", robot="r2")
    assert [event["seq"] for event in page.json["events"]] == [3, 4]
    assert page.json["gap"] == {
        "conv": "g/dock",
        "epoch": page.json["epoch"],
        "from": 1,
        "to": 2,
        "count": 2,
        "why": "retention",
    }


async def test_another_epoch_than_the_logs_is_told(api: Api):
    page = await api.ask("GET", f"{DOCK}/events", robot="r1")
    same = await api.ask("GET", f"{DOCK}/events?epoch={page.json['epoch']}", robot="r1")
    other = await api.ask("GET", f"{DOCK}/events?epoch=before", robot="r1")
    assert same.json == page.json
    assert (other.status, other.code) == (409, "epoch_changed")


@pytest.mark.parametrize(
    "query",
    ["after=x", "after=-1", f"after={2**53}", "limit=0", "view=all", "after=1&before=2"],
)
async def test_a_page_that_cannot_be_is_refused(api: Api, query: str):
    answer = await api.ask("GET", f"{DOCK}/events?{query}", robot="r1")
    assert (answer.status, answer.code) == (400, "bad_frame")


async def test_a_page_over_the_limit_is_refused(api: Api):
    answer = await api.ask("GET", f"{DOCK}/events?limit=1001", robot="r1")
    assert (answer.status, answer.code) == (413, "too_large")


async def test_an_observer_may_not_send(api: Api):
    owner = session_for(Warrant(RobotName("r1"), 0))
    groups = api.node.node.cases.groups
    await groups.set_role(owner, "g/dock", "r2", role=Role.OBSERVER)
    answer = await api.send("r2", DOCK, "hi", key="c1")
    assert (answer.status, answer.code) == (403, "forbidden")


@pytest.mark.parametrize("error", [StoreUnavailable("full"), StoreFailed("torn")])
async def test_a_store_that_takes_nothing_is_told_with_a_time_to_wait(
    api: Api, error: StoreUnavailable | StoreFailed
):
    api.node.store.reads_fail = [error]
    answer = await api.ask("GET", "/v1/groups/other/events", robot="r1")
    assert (answer.status, answer.code) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert answer.json["retry_after"] == 1_000


async def test_a_fault_of_the_servers_own_is_logged_and_not_shown(
    api: Api, caplog: pytest.LogCaptureFixture
):
    api.node.clock.is_broken = True
    answer = await api.ask("GET", f"{DOCK}/events", robot="r1")
    assert (answer.status, answer.code) == (500, "internal")
    assert b"broken" not in answer.body
    assert b"Traceback" not in answer.body
    assert "request.failed" in caplog.messages
    assert "imt1." not in caplog.text


@pytest.mark.parametrize("view", ["events", "messages"])
async def test_who_is_removed_while_a_page_is_read_does_not_learn_how_the_log_goes_on(
    api: Api, view: str
):
    api.node.store.pages_before.shut = True
    asking = api.ask("GET", f"{DOCK}/events?after=0&view={view}", robot="r2")
    reading = asyncio.get_running_loop().create_task(asking)
    while not len(api.node.store.pages_before):
        await asyncio.sleep(0)
    owner = session_for(Warrant(RobotName("r1"), 0))
    await api.node.node.cases.groups.remove(owner, "g/dock", ["r2"])
    await api.send("r1", DOCK, "secret", key="c1")
    api.node.store.pages_before.open()
    page = (await reading).json
    assert page["seq"] == 1 and [event["seq"] for event in page["events"]] == [1]
