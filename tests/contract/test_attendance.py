"""Who is where, told between nodes by a real Redis, whatever befalls it and them."""

import asyncio
import functools
import operator
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from imserver.core.clock import SystemClock
from imserver.core.tasks import TaskScope
from imserver.protocol.names import RobotName
from imserver.route.attendance import LoneAttendance, NodeRecord
from imserver.route.redis_attendance import RedisAttendance
from imserver.route.redis_client import connect
from tests.redis_cluster import RedisClusterServers
from tests.redis_server import RedisServer, redis_process
from tests.until import PATIENCE_S, until

CLAIM_S = 0.3
"""How long a node may take to tell what became of another's robots, before a third one begins."""
R1, R2, R3 = (RobotName(f"r{number}") for number in (1, 2, 3))


class SkewedClock(SystemClock):
    """A machine's clock that is wrong, and a stopwatch that began elsewhere."""

    def __init__(self, skew_s: float) -> None:
        super().__init__()
        self._skew_s = skew_s

    def now_ms(self) -> int:
        return super().now_ms() + int(self._skew_s * 1_000)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._skew_s


class Holding(RedisAttendance):
    """A node's attendance, with the robots it holds, and those it was told are lost."""

    def __init__(
        self,
        server: RedisServer | RedisClusterServers,
        node: str,
        *,
        lease_s: float = 10.0,
        skew_s: float = 0.0,
        prefix: str = "test",
    ) -> None:
        self.robots: dict[RobotName, None] = {}
        self.lost: list[RobotName] = []
        self.times_gone = 0
        self.can_tell = True
        super().__init__(
            connect(server.url),
            node=node,
            prefix=prefix,
            clock=SkewedClock(skew_s),
            beat_s=0.05,
            lease_s=lease_s,
        )
        self.here = self.robots.keys()
        self.about = lambda: NodeRecord(node, f"http://{node}", robots=len(self.robots))
        self.on_lost = self.tell
        self.on_gone = self.count_gone

    async def tell(self, robots: list[RobotName]) -> bool:
        self.lost += robots
        return self.can_tell

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


async def test_who_comes_by_a_node_that_came_since_the_last_beat_is_seen(server, nodes):
    one, two, _ = nodes
    one._beat_s = 60.0
    async with TaskScope() as scope:
        scope.spawn(one.run(), name="one")
        await one.settled()  # its first beat is over
        two.take(R1)
        scope.spawn(two.run(), name="two")
        await two.settled()
        assert one.others == []
        assert await one.holders(R1) == ["two"]
        assert await one.elsewhere([R1, R2]) == {R1}
        scope.cancel_all()


async def test_a_node_is_settled_when_others_can_see_it_or_nobody_can(server, nodes):
    one, two, _ = nodes
    two._beat_s = 60.0
    async with TaskScope() as scope:
        scope.spawn(one.run(), name="one")
        await one.settled()
        assert [node.node for node in await two.nodes()] == ["one", "two"]
        server.kill()
        scope.spawn(two.run(), name="two")
        await two.settled()
        scope.cancel_all()


async def test_nodes_are_listed_with_the_robots_they_hold(nodes):
    async with running(*nodes):
        nodes[0].take(R1, R2)
        async with asyncio.timeout(PATIENCE_S):
            while [node.robots for node in await nodes[1].nodes()] != [2, 0, 0]:
                await asyncio.sleep(0.005)
        assert {node.url for node in await nodes[2].nodes()} == {
            f"http://{n}" for n in ("one", "two", "three")
        }


async def test_a_node_that_has_said_goodbye_to_its_robots_is_gone_at_once(nodes):
    async with running(*nodes) as tasks:
        nodes[0].take(R1)
        await seen(nodes[1], {R1})
        nodes[0].let_go(R1)
        tasks[0].cancel()
        await until(lambda: len(nodes[1].others) == 1)
        assert await nodes[1].elsewhere([R1]) == set()
        assert nodes[1].lost == nodes[2].lost == []


async def test_of_robots_that_a_leaving_node_did_not_say_goodbye_to_the_others_tell_at_once(nodes):
    async with running(*nodes) as tasks:
        nodes[0].take(R1, R2)
        await seen(nodes[1], {R1, R2})
        tasks[0].cancel()
        await until(lambda: len(nodes[1].lost + nodes[2].lost) == 2)
        assert sorted(nodes[1].lost + nodes[2].lost) == [R1, R2]


async def test_a_node_that_dies_is_buried_by_one_of_the_others(nodes, monkeypatch):
    async with running(*nodes) as tasks:
        nodes[0].take(R1, R2)
        await seen(nodes[1], {R1, R2})
        await die(nodes[0], tasks[0], monkeypatch)
        await until(lambda: nodes[1].lost or nodes[2].lost)
        await seen(nodes[1], set())
        assert sorted(nodes[1].lost + nodes[2].lost) == [R1, R2]
        await until(lambda: nodes[1].times_gone == nodes[2].times_gone == 1)


async def test_what_a_dead_node_held_is_told_by_the_next_one_if_the_first_dies_of_it(
    server, nodes, monkeypatch
):
    """Whoever begins to tell of them and does not end leaves everything for another one to begin again."""
    mortals = [Holding(server, "first"), Holding(server, "second", lease_s=CLAIM_S)]
    stuck = asyncio.Event()

    async def hang(robots):
        stuck.set()
        await asyncio.Event().wait()
        return True

    mortals[1].on_lost = hang
    async with running(*mortals) as tasks:
        mortals[0].take(R1, R2)
        await seen(mortals[1], {R1, R2})
        await die(mortals[0], tasks[0], monkeypatch)
        await asyncio.wait_for(stuck.wait(), PATIENCE_S)
        await die(mortals[1], tasks[1], monkeypatch)
    async with running(nodes[2]):
        await until(lambda: len(nodes[2].lost) == 2)
        assert sorted(nodes[2].lost) == [R1, R2]
        await no_names_but(server, {"three"})


async def test_what_cannot_be_told_is_told_later(server, nodes, monkeypatch):
    mortal, heir = Holding(server, "mortal"), Holding(server, "heir", lease_s=CLAIM_S)
    async with running(mortal, heir) as tasks:
        mortal.take(R1)
        await seen(heir, {R1})
        heir.can_tell = False
        await die(mortal, tasks[0], monkeypatch)
        await until(lambda: heir.lost)
        heir.can_tell = True
        await until(lambda: len(heir.lost) > 1)
        await no_names_but(server, {"heir"})


async def test_very_many_robots_of_a_dead_node_are_told_once_each(server, nodes, monkeypatch):
    mortal = Holding(server, "mortal")
    many = [RobotName(f"m{number}") for number in range(2_000)]
    async with running(mortal, *nodes) as tasks:
        mortal.take(*many)
        await mortal.settled()
        await die(mortal, tasks[0], monkeypatch)
        await until(lambda: sum(len(node.lost) for node in nodes) >= len(many))
        assert sorted(functools.reduce(operator.iadd, (node.lost for node in nodes), [])) == sorted(
            many
        )


async def die(node, task, monkeypatch) -> None:
    """End a node as kill -9 would: it leaves everything as it is. Its lease runs out at once."""
    monkeypatch.setattr(node, "_leave", noop)
    task.cancel()
    await asyncio.wait([task])
    lease = node._keys.lease_of(node._node)
    # Not by a short lease: one that a busy machine is late to renew would be buried alive.
    assert await node._redis.pttl(lease) > 0, "it has a lease, and that ends"
    await node._redis.pexpire(lease, 1)
    await node._redis.aclose()


async def noop() -> None:
    """Leave nothing and take nothing away."""


async def no_names_but(server: RedisServer, names: set[str]) -> None:
    """Return when the names of all other nodes are off the list, and their robots gone."""
    async with connect(server.url) as stranger, asyncio.timeout(PATIENCE_S):
        while set(map(str, await stranger.smembers("test:nodes"))) != {
            str(n.encode()) for n in names
        }:
            await asyncio.sleep(0.01)
        while [key async for key in stranger.scan_iter("test:robots:*")]:
            await asyncio.sleep(0.01)


async def test_who_is_gone_is_not_seen_any_more_once_that_is_settled(nodes):
    one, two, _ = nodes
    async with running(*nodes):
        for robot in (R1, R2, R3):
            one.take(robot)
            await one.settled()
            assert await two.elsewhere([robot]) == {robot}
            one.let_go(robot)
            await one.settled()
            assert await two.elsewhere([robot]) == set()


async def test_nothing_waits_for_a_redis_that_does_not_answer(server, nodes):
    one = nodes[0]
    async with running(one):
        server.kill()
        one.take(R1)
        await asyncio.wait_for(one.settled(), PATIENCE_S)


async def test_stamps_grow_from_node_to_node_however_wrong_their_clocks_are(server):
    behind, ahead = (
        Holding(server, "behind", skew_s=-7_200),
        Holding(server, "ahead", skew_s=86_400),
    )
    async with running(behind, ahead):
        stamps = [await node.stamp() for node in (behind, ahead) * 200]
        assert stamps == sorted(set(stamps))


async def test_many_who_ask_at_once_are_stamped_in_their_order(server):
    one, two = Holding(server, "one"), Holding(server, "two")
    async with running(one, two):
        before = await two.stamp()
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(one.stamp()) for _ in range(500)]
        stamps = [task.result() for task in asked]
        assert before < stamps[0] and stamps == sorted(stamps)
        assert await two.stamp() > stamps[-1]


async def test_stamps_grow_when_redis_has_forgotten_the_last_one(server, nodes):
    one, two, _ = nodes
    async with running(*nodes):
        first = await one.stamp()
        await asyncio.sleep(0.002)  # a stamp is a millisecond
        async with connect(server.url) as stranger:
            await stranger.flushall()
        assert await two.stamp() > first


async def test_without_redis_its_time_has_to_do_as_it_was_known_last(server):
    behind, ahead = (
        Holding(server, "behind", skew_s=-7_200),
        Holding(server, "ahead", skew_s=86_400),
    )
    async with running(behind, ahead):
        server.kill()
        first, second, third = [await node.stamp() for node in (behind, ahead, behind)]
        assert first - 1_000 < second < third + 5_000


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


async def test_a_lone_node_has_nobody_elsewhere_and_lists_itself():
    lone = LoneAttendance(SystemClock())
    lone.about = lambda: NodeRecord("alone")
    lone.came(R1)
    await lone.settled()
    assert await lone.elsewhere([R1, R2]) == set()
    assert [node.node for node in await lone.nodes()] == ["alone"]


async def test_on_a_redis_cluster_who_comes_is_seen_and_who_is_lost_is_told(
    shared_redis_cluster, request, monkeypatch
):
    prefix = f"{{{request.node.name}}}"
    one, two, three = (
        Holding(shared_redis_cluster, name, prefix=prefix) for name in ("one", "two", "three")
    )
    async with running(one, two, three) as tasks:
        one.take(R1, R2)
        two.take(R2)
        await seen(three, {R1, R2})
        async with asyncio.timeout(PATIENCE_S):
            while [node.robots for node in await three.nodes()] != [2, 0, 1]:
                await asyncio.sleep(0.005)
        assert 0 < await one.stamp() < await two.stamp()
        two.let_go(R2)
        await two.settled()
        assert await three.holders(R2) == ["one"]
        await die(one, tasks[0], monkeypatch)
        await until(lambda: sorted(two.lost + three.lost) == [R1, R2])
        await seen(three, set())
