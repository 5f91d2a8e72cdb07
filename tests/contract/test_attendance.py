"""Who is where, told between nodes by a real Redis, whatever befalls it and them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from imserver.core.tasks import TaskScope
from imserver.protocol.names import RobotName
from imserver.route.attendance import LoneAttendance, NodeRecord
from imserver.route.redis_attendance import RedisAttendance
from imserver.route.redis_client import connect
from tests.redis_server import RedisServer, redis_process

PATIENCE_S = 10
R1, R2, R3 = (RobotName(f"r{number}") for number in (1, 2, 3))


class Holding(RedisAttendance):
    """A node's attendance, with the robots it holds, and those it was told are lost."""

    def __init__(self, server: RedisServer, node: str, *, lease_s: float = 10.0) -> None:
        self.robots: dict[RobotName, None] = {}
        self.lost: list[RobotName] = []
        self.times_gone = 0
        record = NodeRecord(node, f"http://{node}", "1", 1)
        super().__init__(
            connect(server.url),
            prefix="test",
            record=record,
            beat_s=0.05,
            lease_s=lease_s,
        )
        self.here = self.robots.keys()
        self.on_lost = self.lost.extend
        self.on_gone = self.count_gone

    def count_gone(self) -> None:
        self.times_gone += 1

    def take(self, *robots: RobotName) -> None:
        for robot in robots:
            self.robots[robot] = None
            self.came(robot)

    def let_go(self, robot: RobotName) -> None:
        del self.robots[robot]
        self.went(robot)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_process() as server:
        yield server


@pytest.fixture
def nodes(server: RedisServer) -> list[Holding]:
    return [Holding(server, name) for name in ("one", "two", "three")]


@asynccontextmanager
async def running(*nodes: Holding) -> AsyncIterator[list[asyncio.Task[None]]]:
    async with TaskScope() as scope:
        tasks = [scope.spawn(node.run(), name="attendance") for node in nodes]
        await until(lambda: all(len(node.others) == len(nodes) - 1 for node in nodes))
        yield tasks
        scope.cancel_all()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def seen(node: Holding, robots: set[RobotName]) -> None:
    """Return when a node sees just these robots elsewhere."""
    async with asyncio.timeout(PATIENCE_S):
        while await node.elsewhere([R1, R2, R3]) != robots:
            await asyncio.sleep(0.005)


async def test_who_comes_and_goes_is_seen_by_the_others(nodes):
    one, two, three = nodes
    async with running(*nodes):
        one.take(R1, R2)
        two.take(R2)
        await seen(three, {R1, R2})
        await seen(one, {R2})
        await seen(two, {R1, R2})
        one.let_go(R2)
        await seen(two, {R1})
        await seen(three, {R1, R2})
        two.let_go(R2)
        await seen(three, {R1})


async def test_nodes_are_listed_with_the_robots_they_hold(nodes):
    async with running(*nodes):
        nodes[0].take(R1, R2)
        async with asyncio.timeout(PATIENCE_S):
            while [node.robots for node in await nodes[1].nodes()] != [2, 0, 0]:
                await asyncio.sleep(0.005)
        assert {node.url for node in await nodes[2].nodes()} == {
            f"http://{n}" for n in ("one", "two", "three")
        }


async def test_the_robots_of_a_node_that_leaves_are_gone_at_once(nodes):
    async with running(*nodes) as tasks:
        nodes[0].take(R1)
        await seen(nodes[1], {R1})
        tasks[0].cancel()
        await until(lambda: len(nodes[1].others) == 1)
        assert await nodes[1].elsewhere([R1]) == set()
        assert nodes[1].lost == nodes[2].lost == [], "it has said goodbye to them itself"


async def test_a_node_that_dies_is_buried_by_one_of_the_others(server, nodes, monkeypatch):
    nodes[0] = Holding(server, "mortal", lease_s=0.3)
    async with running(*nodes) as tasks:
        nodes[0].take(R1, R2)
        await seen(nodes[1], {R1, R2})
        monkeypatch.setattr(nodes[0], "_leave", nodes[0]._redis.aclose)
        tasks[0].cancel()
        await until(lambda: nodes[1].lost or nodes[2].lost)
        await seen(nodes[1], set())
        assert sorted(nodes[1].lost + nodes[2].lost) == [R1, R2]
        await until(lambda: nodes[1].times_gone == nodes[2].times_gone == 1)


async def test_a_redis_that_forgot_everything_is_told_again(server, nodes):
    one, two, _ = nodes
    async with running(*nodes):
        one.take(R1)
        await seen(two, {R1})
        async with connect(server.url) as stranger:
            await stranger.flushall()
        await until(lambda: len(two.others) == 2)
        await seen(two, {R1})
        assert one.lost == two.lost == []


async def test_while_redis_is_down_nobody_is_known_to_be_elsewhere(server, nodes):
    one, two, _ = nodes
    async with running(*nodes):
        one.take(R1)
        await seen(two, {R1})
        server.kill()
        assert await two.elsewhere([R1]) == set()
        assert [node.node for node in await two.nodes()] == ["two"]
        one.take(R2)
        server.start()
        await seen(two, {R1, R2})


async def test_very_many_robots_are_written_together(nodes):
    one, two, _ = nodes
    many = [RobotName(f"m{number}") for number in range(5_000)]
    async with running(*nodes):
        one.take(*many)
        async with asyncio.timeout(PATIENCE_S):
            while len(await two.elsewhere(many)) != len(many):
                await asyncio.sleep(0.01)


async def test_a_lone_node_has_nobody_elsewhere():
    lone = LoneAttendance()
    lone.came(R1)
    assert await lone.elsewhere([R1, R2]) == set()
    assert await lone.nodes() == []
