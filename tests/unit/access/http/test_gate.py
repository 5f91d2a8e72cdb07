"""What is refused by a request's head alone, and who may come in."""

import pytest

from imserver.core.settings import AccessSettings, Settings
from tests.unit.access.http.api_in_memory import Api, api_in_memory

EVENTS = "/v1/groups/dock/events"
KEY = {"Idempotency-Key": "c1"}


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; application/json",
        "application/jsonp",
        "",
    ],
)
async def test_a_body_that_a_form_could_send_is_refused(api: Api, kind: str):
    answer = await api.ask(
        "POST", EVENTS, robot="r1", body={"body": 1}, headers=KEY | {"Content-Type": kind}
    )
    assert (answer.status, answer.code) == (415, "unsupported")
    assert "application/json" in answer.json["detail"]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
async def test_json_is_json_however_it_is_spelled(api: Api, kind: str):
    answer = await api.ask(
        "POST", EVENTS, robot="r1", body={"body": 1}, headers=KEY | {"Content-Type": kind}
    )
    assert answer.status == 201


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip, identity", "deflate", "br", ""])
async def test_a_body_in_another_coding_is_refused_with_those_that_are_known(
    api: Api, encoding: str
):
    headers = KEY | {"Content-Encoding": encoding}
    answer = await api.ask("POST", EVENTS, robot="r1", body={"body": 1}, headers=headers)
    assert (answer.status, answer.code) == (415, "unsupported")
    assert answer.headers["accept-encoding"] == "zstd, gzip"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:7400.evil.example",
        "http://127.0.0.1",
        "",
        "http://[",
        "http://[x]",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_page_of_another_origin_is_refused(api: Api, origin: str, method: str):
    body = {"body": 1} if method == "POST" else None
    answer = await api.ask(method, EVENTS, robot="r1", body=body, headers=KEY | {"Origin": origin})
    assert (answer.status, answer.code) == (403, "forbidden")


async def test_a_page_of_this_very_host_is_let_in(api: Api):
    answer = await api.ask("GET", EVENTS, robot="r1", headers={"Origin": "http://127.0.0.1:7400"})
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


async def test_a_page_of_an_allowed_origin_is_let_in_and_may_read():
    access = AccessSettings(origins=("https://fleet.example",))
    async with api_in_memory(Settings(access=access)) as api:
        origin = {"Origin": "https://fleet.example"}
        answer = await api.ask("GET", EVENTS, robot="r1", headers=origin)
        asked = origin | {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, idempotency-key",
        }
        preflight = await api.ask("OPTIONS", EVENTS, headers=asked)
        other = await api.ask("GET", EVENTS, robot="r1", headers={"Origin": "https://evil.example"})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://fleet.example"
    assert preflight.status == 204
    assert "idempotency-key" in preflight.headers["access-control-allow-headers"]
    assert other.status == 403


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic cjE6", "Bearer x", "Bearer imt1.e30.AA", "imt1.e30.AA"],
)
async def test_a_request_without_a_good_token_is_refused(api: Api, authorization: str):
    answer = await api.ask("GET", EVENTS, headers={"Authorization": authorization})
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_token_counts_for_its_own_robot_until_it_expires(api: Api):
    token = {"Authorization": f"bearer {api.node.bearer_token('r1')}"}
    good = await api.ask("GET", EVENTS, headers=token)
    api.node.clock.ms += 3_600_000
    expired = await api.ask("GET", EVENTS, headers=token)
    assert good.status == 200
    assert (expired.status, expired.code) == (401, "unauthenticated")


async def test_a_token_in_the_address_is_no_token(api: Api):
    token = api.node.bearer_token("r1")
    answer = await api.ask("GET", f"{EVENTS}?token={token}&access_token={token}")
    assert answer.status == 401


async def test_an_admin_reads_every_group(api: Api):
    answer = await api.ask("GET", EVENTS, robot="boss", admin=True)
    assert answer.status == 200


async def test_a_request_brings_nobody_online(api: Api):
    await api.send("r1", "/v1/groups/dock", "hi", key="c1")
    await api.ask("GET", EVENTS, robot="r1")
    assert len(api.node.node.sessions) == 0


async def test_a_request_is_not_read_before_its_sender_is_known(api: Api):
    chunks = [b'{"body": 1}']
    answer = await api.ask("POST", EVENTS, chunks=chunks, headers=KEY)
    assert answer.status == 401
    assert chunks, "nothing of the body was taken in"


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/v1/groups/dock/nothing", "/v1"])
async def test_an_unknown_path_is_a_problem(api: Api, path: str):
    answer = await api.ask("GET", path)
    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_method_that_a_path_does_not_take_is_a_problem(api: Api):
    answer = await api.ask("DELETE", EVENTS, robot="r1")
    assert (answer.status, answer.code) == (405, "unsupported")
    assert "GET" in answer.headers["allow"]


async def test_no_answer_is_kept_or_guessed_at_by_a_browser(api: Api):
    for answer in (
        await api.ask("GET", EVENTS, robot="r1"),
        await api.ask("GET", EVENTS, robot="r3"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
