"""Streams and polls of a real server: through its death, its end in good order, and lost connections."""

import asyncio
import random
import re
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import ONE_NODE, StartServer
from tests.e2e.http.conftest import NewRobot
from tests.e2e.http.robot_over_http import TIMEOUT_S, HttpRobot, said_by, stays_of
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import together
from tests.mongo_server import MongoSet
from tests.redis_server import RedisServer
from tests.server_sent_events import Said, parsed

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
        while await stays_of(server) != 2:
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


BODY = "x" * 100_000
NARROW = {
    "IMSERVER_DELIVERY_WRITE_BUFFER_BYTES_MAX": "65536",
    "IMSERVER_SERVER_PING_INTERVAL_S": "240",
}
"""Little is held for a slow reader, and it is not given up, however long it is sent to meanwhile."""

MANY = 60
"""Together far more than sockets and server hold for a reader that takes nothing."""

AT_ONCE = 10
"""That many share a write to the disk: who is ended is waited for a few seconds only, and has to begin to
read before these are over, however slow the disk is."""


class Taken:
    """What a slow reader was given in the end: each event once, or told as skipped, in order."""

    def __init__(self) -> None:
        self.at = 0
        self.events = 0
        self.skipped = 0
        self.bye: str | None = None

    def take(self, said: Said) -> None:
        """Take in what a stream says."""
        if said.type == "bye":
            self.bye = said.data["reason"]
            return
        if said.type == "gap":
            assert (said.data["from"], said.data["why"]) == (self.at + 1, "slow")
            assert said.data["count"] == said.data["to"] - self.at > 0
            self.skipped += said.data["count"]
        else:
            assert said.data["seq"] == self.at + 1
            self.events += 1
        self.at = int(said.id)


@pytest.fixture(scope="module")
def narrow_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("narrow") / "data", environment=NARROW)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def narrow_cluster(
    tmp_path_factory: pytest.TempPathFactory, mongo_set: MongoSet, running_redis: RedisServer
) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("narrow") / "data"
    cluster = Cluster(data, store=mongo_set.url(), route=running_redis.url, environment=NARROW)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def narrow_server(request: pytest.FixtureRequest, deployment: str) -> ServerProcess:
    """A server that holds little for a slow reader."""
    name = "narrow_node" if deployment == ONE_NODE else "narrow_cluster"
    server: ServerProcess = request.getfixturevalue(name)
    return server


async def slow_reader(server: ServerProcess, robot: HttpRobot, policy: str, group: str) -> Taken:
    """Let a reader take nothing while much is sent, and then everything that it is given."""
    answer = await robot.ask("POST", "/groups", json={"name": group})
    assert answer.status_code == 201, answer.text
    taken = Taken()
    small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)]
    transport = httpx.AsyncHTTPTransport(socket_options=small)
    token = {"Authorization": f"Bearer {server.token('r1')}"}
    url = f"{server.url}/v1/groups/{group}/events/stream?policy={policy}"
    async with (
        httpx.AsyncClient(transport=transport, headers=token, timeout=TIMEOUT_S) as http,
        http.stream("GET", url) as answer,
    ):
        said = said_by(answer)
        taken.take(await anext(said))
        for first in range(0, MANY, AT_ONCE):
            some = range(first, first + AT_ONCE)
            await together(*(robot.send(group, BODY, key=f"c{number}") for number in some))
        sending: asyncio.Task[object] | None = None
        while taken.at < MANY + 2 and taken.bye is None:
            taken.take(await anext(said))
            if sending is None:  # by which the reader that drops sees where it goes on
                sending = asyncio.create_task(robot.send(group, "last", key="last"))
        assert sending is not None
        await sending
    return taken


@pytest.mark.parametrize("policy", ["buffer", "missing"])
async def test_a_slow_reader_that_wants_all_gets_all(
    narrow_server: ServerProcess, new_robot: NewRobot, policy: str
):
    robot = new_robot(narrow_server, "r1")
    taken = await slow_reader(narrow_server, robot, policy, policy)
    assert (taken.events, taken.skipped, taken.bye) == (MANY + 2, 0, None)


@pytest.mark.parametrize("policy", ["drop", "latest"])
async def test_a_slow_reader_that_skips_is_told_how_much_and_so_is_its_operator(
    narrow_server: ServerProcess, new_robot: NewRobot, policy: str
):
    robot = new_robot(narrow_server, "r1")
    before = await skipped_by(narrow_server)
    taken = await slow_reader(narrow_server, robot, policy, policy)
    assert taken.skipped > 0
    assert (taken.events + taken.skipped, taken.bye) == (MANY + 2, None)
    assert await skipped_by(narrow_server) - before == taken.skipped


@pytest.mark.one_node(
    reason="the node that ends a reader waits two seconds for it, and sends take longer"
)
async def test_a_slow_reader_that_wants_no_hole_is_ended_and_goes_on_when_it_comes_again(
    narrow_server: ServerProcess, new_robot: NewRobot
):
    robot = new_robot(narrow_server, "r1")
    taken = await slow_reader(narrow_server, robot, "error", "error")
    assert (
        taken.bye
        == f"you fell behind after seq {taken.at}; with the policy `error` the stream ends"
    )
    robot.events = [{"seq": taken.at}]
    await robot.stream_until("error", MANY + 2)


async def skipped_by(server: ServerProcess) -> int:
    """Return how many events the server, all nodes of it, has skipped for slow readers."""
    told = [await metrics(node) for node in server.nodes]
    counts = re.findall(r"^imserver_http_events_skipped_total (\S+)$", "".join(told), re.MULTILINE)
    assert len(counts) == len(told)
    return int(sum(map(float, counts)))
