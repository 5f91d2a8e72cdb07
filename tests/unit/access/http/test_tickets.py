"""Tickets: a browser opens a stream without a token in its address, goes on with it, and nobody else does."""

import re

import pytest

from imserver.access.http.visit import session_for
from imserver.core.acts import ActKind, KeyReplaced, key_fingerprint
from imserver.core.warrant import Warrant
from imserver.logic.tickets import PASS_TTL_MS, TICKET_TTL_MS
from imserver.protocol.names import ConversationName, RobotName
from imserver.route.one_time import TEXTS_MAX, LocalOneTime
from tests.unit.access.http.api_in_memory import Answer, Api
from tests.unit.access.http.streaming import Follower, follow

DOCK = "/v1/groups/dock"


async def ticket(api: Api, *, robot: str = "r2", path: str = DOCK) -> str:
    """Return a ticket for a stream."""
    answer = await api.ask("POST", f"{path}/tickets", robot=robot)
    assert answer.status == 201
    return str(answer.json["ticket"])


async def opened(api: Api, text: str, cookie: str | None = None) -> Follower:
    """Open a stream with a ticket, as a browser does: with no header but its cookies."""
    headers = {} if cookie is None else {"Cookie": cookie}
    return await follow(api, f"ticket={text}", robot=None, headers=headers)


async def refused(api: Api, text: str, cookie: str | None = None) -> Answer:
    """Ask for a stream with a ticket, in vain."""
    headers = {} if cookie is None else {"Cookie": cookie}
    answer = await api.ask("GET", f"{DOCK}/events/stream?ticket={text}", headers=headers)
    assert (answer.status, answer.code) == (401, "unauthenticated")
    return answer


def kept(stream: Follower) -> str:
    """Return the cookie that a browser keeps of an answer."""
    return stream.headers["set-cookie"].partition(";")[0]


async def close(api: Api) -> None:
    """End all streams."""
    api.node.node.stays.drain()
    await api.node.settle()


async def test_a_ticket_opens_a_stream(api: Api):
    answer = await api.ask("POST", f"{DOCK}/tickets", robot="r2")
    assert answer.json == {
        "ticket": answer.json["ticket"],
        "expires": api.node.clock.ms + TICKET_TTL_MS,
        "url": f"{DOCK}/events/stream?ticket={answer.json['ticket']}",
    }
    stream = await opened(api, answer.json["ticket"])
    await stream.until(lambda: stream.seqs == [1])
    assert stream.status == 200
    await close(api)


async def test_a_ticket_is_good_once(api: Api):
    text = await ticket(api)
    await opened(api, text)
    await refused(api, text)
    await close(api)


async def test_the_browser_that_opened_a_stream_may_open_it_again(api: Api):
    text = await ticket(api)
    first = await opened(api, text)
    first.lose()
    again = await opened(api, text, kept(first))
    assert again.status == 200
    assert "set-cookie" not in again.headers
    await close(api)


async def test_only_the_browser_itself_sees_the_cookie_and_only_for_this_stream(api: Api):
    stream = await opened(api, await ticket(api))
    name, *attributes = stream.headers["set-cookie"].split("; ")
    assert re.fullmatch(r"imserver_stream_[0-9a-f]{16}=imt1\.[\w-]+\.[\w-]+", name)
    assert attributes == [
        f"Path={DOCK}/events/stream",
        "Max-Age=3600",  # as long as the token is good with which the ticket was got
        "HttpOnly",
        "SameSite=Strict",
    ]
    await close(api)


async def test_a_ticket_that_was_not_used_soon_is_good_for_nothing(api: Api):
    text = await ticket(api)
    api.node.clock.ms += TICKET_TTL_MS
    await refused(api, text)


async def test_a_cookie_goes_with_its_own_ticket_only(api: Api):
    stream = await opened(api, await ticket(api))
    other = await ticket(api)
    name = kept(await opened(api, other)).partition("=")[0]
    value = kept(stream).partition("=")[2]
    await refused(api, other, kept(stream))
    await refused(api, other, f"{name}={value}")
    await close(api)


async def test_a_cookie_that_nobody_signed_is_refused(api: Api):
    text = await ticket(api)
    stream = await opened(api, text)
    name, _, value = kept(stream).partition("=")
    await refused(api, text, f"{name}={value[:-4]}AAAA")
    await refused(api, text, f"{name}={api.node.bearer_token('r2')}")
    await close(api)


async def test_a_pass_is_no_bearer_token(api: Api):
    stream = await opened(api, await ticket(api))
    value = kept(stream).partition("=")[2]
    answer = await api.ask("GET", "/v1/whoami", headers={"Authorization": f"Bearer {value}"})
    assert answer.status == 401
    await close(api)


async def test_a_pass_ends_with_the_token_behind_it(api: Api):
    text = await ticket(api)
    stream = await opened(api, text)
    api.node.clock.ms += 3_600_000
    await refused(api, text, kept(stream))
    await close(api)


async def test_a_pass_ends_after_half_a_day_at_the_latest(api: Api):
    tickets, clock = api.node.node.cases.tickets, api.node.clock
    session = session_for(Warrant(RobotName("r2"), 0))
    conv = ConversationName("g/dock")
    text, _ = await tickets.issue(session, conv, expires_ms=clock.ms + 10 * PASS_TTL_MS)
    grant = await tickets.redeem(text, kept_pass=None)
    assert grant.expires_ms == clock.ms + PASS_TTL_MS


async def test_a_token_for_http_ends_with_the_key_that_opened_its_session(api: Api):
    node, clock = api.node.node, api.node.clock
    robot = RobotName("r2")
    before = node.cases.tickets.for_http(session_for(Warrant(robot, clock.ms)))[0]
    change = KeyReplaced(b"old", b"new")
    replaced = node.ledger.act(ActKind.KEY_ROTATED, robot, robot=robot, change=change)
    after = node.cases.tickets.for_http(session_for(Warrant(robot, clock.ms + 1)))[0]
    node.ledger.standing.note(replaced)
    for token, status in ((before, 401), (after, 200)):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await api.ask("GET", "/v1/groups", headers=headers)).status == status


async def test_what_was_got_while_a_key_was_being_replaced_ends_with_the_key_it_was_got_with(
    api: Api,
):
    node, clock = api.node.node, api.node.clock
    robot, change = RobotName("r2"), KeyReplaced(b"old", b"new")
    replaced = node.ledger.act(ActKind.KEY_ROTATED, robot, robot=robot, change=change)
    clock.ms += 200  # it waits for the disk
    warrants = [Warrant(robot, clock.ms, key=key_fingerprint(key)) for key in (b"old", b"new")]
    tokens = [node.cases.tickets.for_http(session_for(warrant))[0] for warrant in warrants]
    texts = [
        (await api.ask("POST", f"{DOCK}/tickets", headers=bearing(token))).json["ticket"]
        for token in tokens
    ]
    node.ledger.standing.note(replaced)
    answers = [await api.ask("GET", "/v1/groups", headers=bearing(token)) for token in tokens]
    assert [answer.status for answer in answers] == [401, 200]
    await refused(api, texts[0])
    assert (await node.cases.tickets.redeem(texts[1], kept_pass=None)).warrant.robot == robot


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_ticket_opens_its_own_conversation_only(api: Api):
    await api.send("r1", "/v1/direct/r1/r2", "hi", key="c1")
    text = await ticket(api, path="/v1/direct/r1/r2")
    answer = await refused(api, text)
    assert "d/r1/r2" in answer.json["detail"]


async def test_a_ticket_is_good_for_streams_only(api: Api):
    text = await ticket(api)
    answer = await api.ask("GET", f"{DOCK}/events?ticket={text}")
    assert (answer.status, answer.code) == (401, "unauthenticated")


async def test_who_may_not_read_gets_no_ticket(api: Api):
    answer = await api.ask("POST", f"{DOCK}/tickets", robot="r3")
    assert (answer.status, answer.code) == (404, "not_found")


async def test_who_was_removed_reads_no_more_with_a_cookie(api: Api):
    text = await ticket(api)
    cookie = kept(await opened(api, text))
    owner = session_for(Warrant(RobotName("r1"), 0))
    await api.node.node.cases.groups.remove(owner, "g/dock", ["r2"])
    headers = {"Cookie": cookie}
    answer = await api.ask("GET", f"{DOCK}/events/stream?ticket={text}", headers=headers)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("text", ["", "x", "%00", "x" * 10_000])
async def test_a_ticket_that_is_none_is_refused(api: Api, text: str):
    await refused(api, text)


async def test_only_so_many_tickets_are_out_at_a_time(api: Api):
    tickets, expires_ms = api.node.node.cases.tickets, api.node.clock.ms + 10**9
    session = session_for(Warrant(RobotName("r2"), 0))
    conv = ConversationName("g/dock")
    out = [
        (await tickets.issue(session, conv, expires_ms=expires_ms))[0] for _ in range(TEXTS_MAX + 1)
    ]
    assert isinstance(tickets._left, LocalOneTime)
    assert len(tickets._left) == TEXTS_MAX
    await refused(api, out[0])
    assert (await tickets.redeem(out[-1], kept_pass=None)).warrant.robot == "r2"
