"""HTTP connections: heads, bodies and answers that come at a pace, or not."""

import gc
import weakref

import pytest

from imserver.access.door import VISITORS_RESERVE
from imserver.access.http import link as link_module
from imserver.access.http.last_answers import SURPLUS_BYTES_MAX
from imserver.core.settings import AccessSettings, Settings
from tests.unit.access.http.api_in_memory import Api, api_in_memory
from tests.unit.access.http.raw_http import HOST, RawHttp, head

EVENTS = "/v1/groups/dock/events"
HELLO_S = round(Settings().server.hello_timeout_s)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PING_S = round(Settings().server.ping_interval_s)


@pytest.fixture
async def http(api: Api) -> RawHttp:
    return RawHttp(api)


def sending(api: Api, length: int | None, *headers: str) -> bytes:
    """Return the head of a request that sends an event with a body of so many bytes."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    token = f"Authorization: Bearer {api.node.bearer_token('r1')}"
    kind = "Content-Type: application/json"
    return head("POST", EVENTS, token, kind, "Idempotency-Key: c1", size, *headers)


def body(size: int) -> bytes:
    """Return an event's body that takes so many bytes on the wire."""
    text = b'{"body": "' + b"x" * (size - 12) + b'"}'
    assert len(text) == size
    return text


# Heads.


async def test_requests_of_one_connection_are_answered_one_after_the_other(http: RawHttp):
    await http.feed(head() + head(path="/nothing") + head())
    assert http.statuses == [200, 404, 200]
    assert http.is_open


async def test_many_requests_in_one_piece_are_no_long_head(http: RawHttp):
    request = head() + b"\r\n"
    count = link_module.HEAD_BYTES_MAX // len(request) + 10
    for rounds in (1, 2):
        http.link.data_received(request * count)
        while len(http.statuses) < rounds * count:
            await http.settle()
    assert set(http.statuses) == {200}


@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_head_over_the_limit_is_refused(http: RawHttp, pieces: int):
    long = head("GET", "/healthz", f"X-Long: {'x' * link_module.HEAD_BYTES_MAX}")
    step = len(long) // pieces + 1
    await http.feed(*(long[at : at + step] for at in range(0, len(long), step)))
    assert http.statuses == [431]
    assert not http.is_open


async def test_a_head_that_never_ends_is_refused_when_it_is_too_long(http: RawHttp):
    await http.feed(head()[:-2], *[b"X-More: xxxxxxxxxxxxxxxxxxxxxxxx\r\n"] * 1_000)
    assert http.statuses == [431]


async def test_an_address_over_the_limit_is_refused(http: RawHttp):
    await http.feed(head("GET", "/" + "x" * 64 * 1024))
    assert http.statuses == [431]


async def test_too_many_headers_are_refused(http: RawHttp):
    await http.feed(head("GET", "/healthz", *["X: y"] * 1_000))
    assert http.statuses == [431]


@pytest.mark.parametrize("host", [b"", HOST + HOST, HOST + b"host: evil.example\r\n"])
async def test_a_request_without_one_host_is_refused(api: Api, http: RawHttp, host: bytes):
    await http.feed(head(host=host))
    assert http.statuses == [400]
    assert not http.is_open
    assert api.node.counted("imserver_http_requests_malformed_total") == 1


async def test_the_older_http_needs_no_host(http: RawHttp):
    await http.feed(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert http.statuses == [200]


@pytest.mark.parametrize(
    "text",
    [
        b"hello\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"IM1M\x00\x00\x00\x01",
        head("GET", "/healthz", "Bad : space"),
        head("GET", "/healthz", "Folded: a\r\n b"),
        head("GET", "/healthz", "Null: a\0b"),
        b"GET /healthz HTTP/1.1\nHost: a\n\n",
        head("GET", "/healthz", "Torn: a\rb"),
        head("POST", EVENTS, "Content-Length: 4", "Content-Length: 5"),
        head("POST", EVENTS, "Content-Length: +5"),
        head("POST", EVENTS, "Content-Length: -1"),
        head("POST", EVENTS, "Content-Length: 5_0"),
        head("POST", EVENTS, "Content-Length: 5", "Transfer-Encoding: chunked"),
        head("POST", EVENTS, "Transfer-Encoding: chunked, identity"),
        head("GET", "/\xff"),
    ],
)
async def test_what_is_no_good_request_is_refused(http: RawHttp, text: bytes):
    await http.feed(text, b"\r\n" * 8)
    assert http.statuses == [400]
    assert not http.is_open


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("TRACE", "/healthz", 405),
        ("CONNECT", "/healthz", 405),
        ("BREW", "/healthz", 400),
        ("GET", "http://evil.example/healthz", 200),  # whose name it is says the header `Host`
        ("GET", "/v1/../healthz", 404),
        ("GET", "/v1/%2e%2e/healthz", 404),
        ("GET", "/v1/groups/%00/events", 401),
        ("GET", "/v1/groups/%c0%ae/events", 401),
        ("GET", "//healthz", 200),
        ("OPTIONS", "/v1/groups/dock/events", 204),
    ],
)
async def test_an_odd_method_or_path_gets_a_plain_answer(
    http: RawHttp, method: str, path: str, status: int
):
    overridden = "X-HTTP-Method-Override: DELETE", "X-Forwarded-For: 10.0.0.1"
    await http.feed(head(method, path, *overridden))
    assert http.statuses == [status]


async def test_a_head_that_does_not_end_is_given_up(http: RawHttp):
    await http.feed(head()[:-2])
    await http.pass_time(HELLO_S - 1)
    assert http.is_open
    await http.feed(b"X: y\r\n")
    await http.pass_time(1)
    assert http.transport.is_aborted()


async def test_a_silent_connection_is_given_up(http: RawHttp):
    await http.pass_time(HELLO_S)
    assert http.transport.is_aborted()


async def test_what_follows_a_refusal_is_dropped_until_the_client_leaves(http: RawHttp):
    http.transport.is_stuck = True
    await http.feed(head(host=b""), head(), b"x" * 100_000)
    assert http.statuses == [400]
    assert http.is_open and http.transport.is_ended()
    await http.pass_time(round(link_module.CLOSE_TIMEOUT_S))
    assert http.transport.is_closed()


# Bodies.


async def test_a_large_body_in_one_piece_with_its_head_is_taken_in(api: Api):
    http, size = RawHttp(api), 100_000
    await http.feed(sending(api, size) + body(size))
    assert http.statuses == [201]


async def test_a_body_over_the_limit_is_refused_by_its_announced_length(api: Api):
    http = RawHttp(api)
    await http.feed(sending(api, 10**9))
    assert http.statuses == [413]


async def test_a_chunked_body_over_the_limit_is_refused_when_it_gets_there(api: Api):
    http, chunk = RawHttp(api), b"%x\r\n%s\r\n" % (65_536, b"x" * 65_536)
    await http.feed(sending(api, None), *[chunk] * 6)
    assert http.statuses == [413]


@pytest.mark.parametrize(
    "chunks",
    [
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"11111111111111111\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloworld\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
    ],
)
async def test_a_chunked_body_that_is_malformed_is_refused(api: Api, chunks: bytes):
    http = RawHttp(api)
    await http.feed(sending(api, None), chunks)
    assert http.statuses == [400]
    assert not http.is_open


@pytest.mark.parametrize("line", [b"X-More: " + b"x" * 1_000 + b"\r\n", b"X-Long-" + b"x" * 1_000])
async def test_a_trailer_without_end_is_refused(api: Api, line: bytes):
    http = RawHttp(api)
    await http.feed(sending(api, None), b"0\r\n", *[line] * 100)
    assert http.statuses == [431]
    assert not http.is_open


async def test_a_body_in_chunks_of_one_byte_is_taken_in(api: Api):
    http, text = RawHttp(api), body(20_000)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in text)
    step = 4_000
    pieces = [chunks[at : at + step] for at in range(0, len(chunks), step)]
    await http.feed(sending(api, None), *pieces, b"0\r\n\r\n")
    assert http.statuses == [201]


@pytest.mark.parametrize("length", [10**9, None])
async def test_a_connection_ends_with_the_refusal_of_a_body_that_is_far_from_over(
    api: Api, length: int | None
):
    http = RawHttp(api)
    http.transport.is_stuck = True
    await http.feed(sending(api, length, "Content-Encoding: odd"), *[b"1\r\nx\r\n" * 10_000] * 10)
    assert http.statuses == [415]
    assert http.received.count(b"connection: close\r\n") == 1
    assert http.is_open and http.transport.is_ended(), "the client gets to read the refusal"
    await http.pass_time(round(link_module.CLOSE_TIMEOUT_S))
    assert http.transport.is_closed()


async def test_what_is_left_of_a_body_after_its_refusal_is_dropped(api: Api):
    http, left = RawHttp(api), SURPLUS_BYTES_MAX
    await http.feed(sending(api, left), *[b"x" * 65_536] * (left // 65_536), head())
    assert http.statuses == [413, 200]
    assert http.is_open and b"connection: close" not in http.received


async def test_a_body_that_does_not_come_is_given_up(api: Api):
    http = RawHttp(api)
    await http.feed(sending(api, 100), b"{")
    await http.pass_time(HELLO_S - 1)
    assert http.statuses == []
    await http.pass_time(1)
    assert http.statuses == [408]
    assert not http.is_open


async def test_a_body_that_comes_at_a_pace_may_take_its_time(api: Api):
    http, size = RawHttp(api), 20 * 2 * link_module.BODY_BYTES_PER_S
    text = body(size)
    await http.feed(sending(api, size))
    for at in range(0, size, 2 * link_module.BODY_BYTES_PER_S):
        await http.feed(text[at : at + 2 * link_module.BODY_BYTES_PER_S])
        await http.pass_time(1)
    assert http.statuses == [201]


async def test_a_body_that_is_expected_is_asked_for(api: Api):
    http, size = RawHttp(api), 100
    await http.feed(sending(api, size, "Expect: 100-continue"))
    assert http.received.startswith(b"HTTP/1.1 100 ")
    await http.feed(body(size))
    assert http.statuses == [100, 201]


async def test_a_request_that_is_refused_by_its_head_is_not_asked_for_its_body(http: RawHttp):
    expecting = head("POST", EVENTS, "Content-Length: 9", "Expect: 100-continue")
    await http.feed(expecting)
    assert http.statuses == [415]
    assert b"connection: close" in http.received and not http.is_open, "what comes next is unclear"


async def test_a_client_that_leaves_in_the_middle_of_a_body_leaves_nothing_behind(
    api: Api, caplog: pytest.LogCaptureFixture
):
    http = RawHttp(api)
    await http.feed(sending(api, 100), b"{")
    http.transport.close()
    await http.settle()
    page = await api.ask("GET", f"{EVENTS}?after=1", robot="r1")
    assert page.json["events"] == []
    assert not [record for record in caplog.records if record.exc_info]


# Answers.


async def test_an_answer_is_not_given_to_who_has_left_with_a_request_behind_it(
    api: Api, http: RawHttp, caplog: pytest.LogCaptureFixture
):
    api.node.store.commits.shut = True
    await http.feed(sending(api, 20) + body(20) + head())
    http.transport.abort()
    await http.settle()
    api.node.store.commits.open()
    await http.settle()
    assert (http.received, len(http.link.tasks)) == (b"", 0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_answer_is_not_given_behind_the_refusal_of_what_followed_its_request(
    api: Api, http: RawHttp, caplog: pytest.LogCaptureFixture
):
    api.node.store.commits.shut = http.transport.is_stuck = True
    await http.feed(sending(api, 20) + body(20) + b"junk\r\n\r\n")
    api.node.store.commits.open()
    await http.settle()
    assert (http.statuses, len(http.link.tasks)) == ([400], 0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_client_that_does_not_take_its_answer_is_cut_off(http: RawHttp):
    http.transport.is_stuck = True
    await http.feed(head())
    http.transport.unsent = 100
    await http.pass_time(PING_S)
    assert not http.transport.is_aborted()
    await http.pass_time(1)
    assert http.transport.is_aborted()


async def test_a_client_that_takes_its_answer_slowly_is_waited_for(http: RawHttp):
    http.transport.is_stuck = True
    await http.feed(head())
    for unsent in range(3 * PING_S, 0, -1):
        http.transport.unsent = unsent
        await http.pass_time(1)
    assert not http.transport.is_aborted()


async def test_who_waited_long_for_an_answer_has_time_for_the_next_request(api: Api):
    http = RawHttp(api)
    token = f"Authorization: Bearer {api.node.bearer_token('r1')}"
    poll = head("GET", f"{EVENTS}?after=1&wait=60", token)
    await http.feed(poll)
    await http.pass_time(2 * HELLO_S)
    await api.send("r1", "/v1/groups/dock", 1, key="c1")
    await http.settle()
    assert http.statuses == [200]
    await http.pass_time(HELLO_S - 1)
    await http.feed(head())
    assert http.statuses == [200, 200]
    await http.pass_time(HELLO_S)
    assert http.transport.is_aborted()


class Waiting:
    """An answer that takes its time."""

    def __init__(self, *, keeps_on: bool = True) -> None:
        self.blocked = False
        self.ticks = 0
        self.is_lost = False
        self._keeps_on = keeps_on

    def on_tick(self) -> bool:
        self.ticks += 1
        return self._keeps_on

    def on_lost(self) -> None:
        self.is_lost = True


async def test_an_answer_that_takes_its_time_hears_of_each_second_and_of_the_loss(http: RawHttp):
    waiting = Waiting()
    await http.feed(head())
    http.link.stay = waiting
    await http.pass_time(3)
    http.transport.close()
    await http.settle()
    assert (waiting.ticks, waiting.is_lost) == (3, True)


async def test_an_answer_to_a_head_in_two_pieces_hears_of_each_second_too(http: RawHttp):
    waiting = Waiting()
    await http.feed(head()[:1])
    await http.pass_time(1)
    await http.feed(head()[1:])
    http.link.stay = waiting
    await http.pass_time(3)
    assert waiting.ticks == 3


async def test_an_answer_that_is_over_hears_nothing(http: RawHttp):
    waiting = Waiting()
    await http.feed(head())
    http.link.stay = waiting
    http.link.stay = None
    await http.pass_time(3)
    assert waiting.ticks == 0


@pytest.mark.parametrize("asked", ["/stream", "?after=1&wait=60"])
async def test_a_client_that_leaves_before_its_answer_has_begun_leaves_nothing_behind(
    api: Api, http: RawHttp, asked: str
):
    token = f"Authorization: Bearer {api.node.bearer_token('r2')}"
    http.link.data_received(head("GET", EVENTS + asked, token))
    http.transport.abort()
    await http.settle()
    dock = api.node.node.conversations.peek("g/dock")
    assert dock is not None
    assert (len(api.node.node.stays), len(dock.readers), len(http.link.tasks)) == (0, 0, 0)


async def test_an_answer_may_give_its_connection_up(http: RawHttp):
    await http.feed(head())
    http.link.stay = Waiting(keeps_on=False)
    await http.pass_time(1)
    assert http.transport.is_aborted()


@pytest.mark.parametrize(("blocked", "is_cut"), [(True, True), (False, False)])
async def test_a_stream_is_cut_off_only_while_it_waits_for_its_client(
    http: RawHttp, *, blocked: bool, is_cut: bool
):
    waiting = Waiting()
    waiting.blocked = blocked
    http.transport.is_stuck = True
    await http.feed(head())
    http.link.stay = waiting
    http.transport.unsent = 100
    await http.pass_time(PING_S + 1)
    assert http.transport.is_aborted() is is_cut


async def test_more_strangers_than_the_node_takes_are_turned_away():
    access = AccessSettings(connections_max=1)
    async with api_in_memory(Settings(access=access)) as api:
        inside = [RawHttp(api) for _ in range(1 + VISITORS_RESERVE)]
        one_more = RawHttp(api)
    assert all(http.is_open for http in inside)
    assert one_more.statuses == [503]
    assert not one_more.is_open


# Upgrades.


async def test_what_spoke_http_is_freed_at_once_when_a_connection_becomes_a_websocket(
    http: RawHttp,
):
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    link = weakref.ref(http.link)
    gc.disable()
    try:
        await http.feed(head("GET", "/v1/connect", *upgrade, f"Sec-WebSocket-Key: {KEY}"))
        del http.link
        assert http.statuses == [101]
        assert link() is None
    finally:
        gc.enable()
