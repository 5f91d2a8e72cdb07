"""Streams and polls of a real server: through its death, its end in good order, and lost connections."""

import asyncio
import random

import httpx
import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.http.conftest import NewRobot
from tests.e2e.http.robot_over_http import TIMEOUT_S, HttpRobot, said_by
from tests.e2e.server_process import ServerProcess
from tests.server_sent_events import parsed

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
LONG_WAITS = {"IMSERVER_HTTP_WAIT_MAX_S": "3600"}


async def dock(robot: HttpRobot) -> None:
    """Create the group that the test speaks in."""
    answer = await robot.ask("POST", "/groups", json={"name": "dock"})
    assert answer.status_code == 201, answer.text


async def read_through(robot: HttpRobot, group: str, seq: int) -> None:
    """Read streams, one after the other as they break off, until the event at ``seq`` is there."""
    while robot.last < seq:
        try:
            await robot.stream_until(group, seq)
        except httpx.TransportError:
            await asyncio.sleep(0.01)


async def test_a_reader_comes_through_the_death_of_its_server(
    server: ServerProcess, new_robot: NewRobot
):
    sender, reader = new_robot(server, "r1"), new_robot(server, "r1")
    await dock(sender)
    count = 60
    reading = asyncio.create_task(read_through(reader, "dock", count + 1))
    for number in range(count):
        if number % 20 == 19:
            await asyncio.to_thread(server.restart)
        try:
            await sender.send("dock", number, key=f"c{number}")
        except httpx.TransportError:  # the connection that was kept died with the server
            await sender.send("dock", number, key=f"c{number}")
    await reading
    assert [event["body"] for event in reader.events[1:]] == list(range(count))


async def test_a_server_that_stops_ends_its_streams_and_polls_in_good_order(
    start_server: StartServer, new_robot: NewRobot
):
    server = start_server(environment=LONG_WAITS)
    robot = new_robot(server, "r1")
    await dock(robot)
    async with robot.following("dock") as answer:
        events = said_by(answer)
        first = await anext(events)
        poll = asyncio.create_task(robot.ask("GET", "/groups/dock/events?after=1&wait=600"))
        while "imserver_http_stays 2.0" not in (await metrics(server)):
            await asyncio.sleep(0.01)
        server.terminate()
        rest = [said async for said in events]
    polled = await poll
    assert first.data["kind"] == "group_created"
    assert [said.type for said in rest] == ["bye"]
    assert rest[0].data["code"] == 4100
    assert (polled.status_code, polled.json()["events"]) == (200, [])
    assert await asyncio.to_thread(server.wait_stopped) == 0


async def metrics(server: ServerProcess) -> str:
    """Return what the server counts."""
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
        return (await http.get(f"{server.url}/metrics")).text


async def test_a_stream_that_is_cut_at_any_byte_is_resumed_without_gap_or_double(
    server: ServerProcess, new_robot: NewRobot, rng: random.Random
):
    sender, reader = new_robot(server, "r1"), new_robot(server, "r1")
    await dock(sender)
    count = 150
    log: list[int] = []
    sending = asyncio.create_task(send_all(sender, count))
    while len(log) < count + 1:
        cut_at = rng.randrange(1, 3_000)
        text = await reader.read_bytes("dock", cut_at, after=len(log), head=count + 1)
        log += [int(said.id) for said in parsed(text)]
    await sending
    assert log == list(range(1, count + 2))


async def send_all(robot: HttpRobot, count: int) -> None:
    """Send so many events, one after the other."""
    for number in range(count):
        await robot.send("dock", number, key=f"c{number}")


async def test_a_browsers_stream_goes_on_after_a_restart_by_its_cookie_alone(
    server: ServerProcess, new_robot: NewRobot
):
    robot = new_robot(server, "r1")
    await dock(robot)
    url = server.url + (await robot.ask("POST", "/groups/dock/tickets")).json()["url"]
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as browser, httpx.AsyncClient() as stranger:
        async with browser.stream("GET", url) as answer:
            said = await anext(said_by(answer))
        await asyncio.to_thread(server.restart)
        again = new_robot(server, "r1")
        await again.send("dock", "after the restart", key="c1")
        async with browser.stream("GET", url, headers={"Last-Event-ID": said.id}) as answer:
            assert answer.status_code == 200
            resumed = await anext(said_by(answer))
        assert (await stranger.get(url)).status_code == 401
    assert (said.id, resumed.id, resumed.data["body"]) == ("1", "2", "after the restart")


async def test_a_flood_of_polls_is_held_back_and_harms_nobody(
    start_server: StartServer, new_robot: NewRobot
):
    server = start_server(environment=LONG_WAITS | {"IMSERVER_HTTP_STAYS_MAX": "5"})
    flooder, honest = new_robot(server, "r1"), new_robot(server, "r2")
    await dock(flooder)
    await honest.ask("GET", "/whoami")
    await flooder.ask("POST", "/groups/dock/members", json={"robots": ["r2"]})
    flood = [
        asyncio.create_task(flooder.ask("GET", "/groups/dock/events?after=2&wait=600"))
        for _ in range(60)
    ]
    while sum(task.done() for task in flood) < 55:
        await asyncio.sleep(0.01)
    waiting = asyncio.create_task(honest.poll_until("dock", 3))
    await honest.send("dock", "still there", key="c1")
    await waiting
    answers = [await task for task in flood]
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 5 + [429] * 55
    refusal = next(answer for answer in answers if answer.status_code == 429)
    assert refusal.json()["code"] == "rate_limited"
    assert refusal.headers["Retry-After"] == "1"


async def test_a_slow_reader_of_a_real_socket_is_not_waited_for(
    start_server: StartServer, new_robot: NewRobot
):
    server = start_server(environment={"IMSERVER_DELIVERY_WRITE_BUFFER_BYTES_MAX": "65536"})
    robot = new_robot(server, "r1")
    await dock(robot)
    body, count = "x" * 100_000, 150
    async with robot.following("dock", "policy=latest") as answer:
        events = said_by(answer)
        await anext(events)
        for number in range(
            count
        ):  # far more than what sockets hold for a reader that takes nothing
            await robot.send("dock", body, key=f"c{number}")
        at = 1
        skipped = 0
        while at < count + 1:
            said = await anext(events)
            if said.type == "gap":
                assert said.data["from"] == at + 1
                assert said.data["why"] == "slow"
                skipped += said.data["count"]
            at = int(said.id)
    assert skipped > 0
