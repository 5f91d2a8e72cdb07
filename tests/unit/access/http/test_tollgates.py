"""Rates over HTTP: 429 with the time to wait, for robots and for addresses."""

from typing import Any

from imserver.core.rate_settings import RateSettings
from imserver.core.settings import Settings
from tests.unit.access.http.api_in_memory import api_in_memory

DOCK = "/v1/groups/dock"


def slow(**settings: Any) -> Settings:
    return Settings(rates=RateSettings(**{"burst_s": 1.0} | settings))


async def test_a_robot_that_asks_too_fast_is_told_when_to_come():
    async with api_in_memory(slow(robot_frames_per_s=4.0)) as api:
        for number in range(4):
            assert (await api.send("r1", DOCK, "hi", key=f"c{number}")).status == 201
        refused = await api.send("r1", DOCK, "hi", key="c4")
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "1"
        assert refused.json["retry_after"] == 250
        assert (await api.send("r2", DOCK, "hi", key="c4")).status == 201
        api.node.clock.s += 0.25
        assert (await api.send("r1", DOCK, "hi", key="c4")).status == 201


async def test_an_address_that_asks_too_fast_is_told_so_before_it_says_who_it_is():
    async with api_in_memory(slow(address_frames_per_s=4.0)) as api:
        for _ in range(4):
            assert (await api.ask("GET", f"{DOCK}/events")).status == 401
        refused = await api.ask("GET", f"{DOCK}/events")
        assert (refused.status, refused.code) == (429, "rate_limited")


async def test_requests_and_frames_of_a_robot_have_one_rate():
    async with api_in_memory(slow(robot_frames_per_s=4.0)) as api:
        api.node.context.tolls.charge("r1", "", 4, 0)
        assert (await api.ask("GET", f"{DOCK}/events", robot="r1")).status == 429


async def test_a_body_counts_as_far_as_it_is_held_in_memory():
    rates = slow(robot_bytes_per_s=100_000.0)
    async with api_in_memory(rates) as api:
        tolls = api.node.context.tolls
        for length, status in (("99999999999999999999", 413), ("١", 400), ("-5", 400)):
            headers = {"Content-Length": length.encode().decode("latin-1"), "Idempotency-Key": "c"}
            answer = await api.ask(
                "POST", f"{DOCK}/events", robot="r1", chunks=[b"{}"], headers=headers
            )
            assert answer.status in (status, 429)
        assert 0 < tolls.wait_s("r1", "") < 10


async def test_a_body_that_does_not_say_its_length_counts_as_the_longest():
    async with api_in_memory(slow(robot_bytes_per_s=100_000.0)) as api:
        headers = {"Transfer-Encoding": "chunked", "Idempotency-Key": "c1"}
        answer = await api.ask(
            "POST", f"{DOCK}/events", robot="r1", chunks=[b'{"body": 1}'], headers=headers
        )
        assert answer.status == 201
        assert api.node.context.tolls.wait_s("r1", "") > 1


async def test_a_crowded_conversation_answers_over_http_too():
    async with api_in_memory(slow(conversation_events_per_s=4.0)) as api:
        for number in range(20):
            answer = await api.send("r1", DOCK, "hi", key=f"c{number}")
            if answer.status != 201:
                break
        assert (answer.status, answer.code) == (429, "rate_limited")
        assert answer.json["retry_after"] > 0
