"""Two nodes on one store: what robots see when a node, or what connects the nodes, goes away."""

import asyncio
import json
import re
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import end
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_crash import whole_log
from tests.e2e.test_presence_and_signals import presence, until_presence
from tests.e2e.wire import Fleet, Peer
from tests.mongo_server import MongoSet
from tests.redis_server import RedisServer, redis_process

REPLACED = 4300
PATIENCE_S = 20


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_process() as redis:
        yield redis


@pytest.fixture
def nodes(
    tmp_path: Path, mongo_set: MongoSet, redis: RedisServer
) -> Iterator[tuple[ServerProcess, ...]]:
    cluster = Cluster(tmp_path / "data", store=mongo_set.url(), route=redis.url, count=2)
    cluster.start()
    yield cluster.nodes
    end(cluster)
    assert not cluster.tracebacks(), cluster.stderr()


class Robots:
    """Robots that come in by the node that the test says."""

    def __init__(self, nodes: tuple[ServerProcess, ...]) -> None:
        self._nodes = nodes
        self.fleet = Fleet(nodes[0])

    async def online(self, robot: str, *, node: int) -> Peer:
        self.fleet.server = self._nodes[node]
        return await self.fleet.online(robot)

    async def pair(self) -> tuple[Peer, Peer, str]:
        """Return two members of a group, each on a node of its own."""
        one, other = await self.online("r1", node=0), await self.online("r2", node=1)
        conv = await self.fleet.group(one, other)
        await other.until_seq(conv, 1)
        return one, other, conv


@pytest.fixture
async def robots(nodes: tuple[ServerProcess, ...]) -> AsyncIterator[Robots]:
    robots = Robots(nodes)
    yield robots
    await robots.fleet.aclose()


def is_connected(node: ServerProcess) -> bool:
    with urllib.request.urlopen(node.url + "/metrics") as answer:
        found = re.search(r"^imserver_route_connected (\S+)$", answer.read().decode(), re.M)
    assert found is not None, "the metric is there"
    return float(found[1]) == 1


async def test_without_redis_all_goes_on_and_with_it_again_faster(
    nodes: tuple[ServerProcess, ...], robots: Robots, redis: RedisServer
) -> None:
    one, other, conv = await robots.pair()
    redis.kill()
    head = 1
    for number in range(10):
        head = (await (one, other)[number % 2].send(conv, number))["seq"]
    for peer in (one, other):
        await peer.until_seq(conv, head)
    late = await robots.online("r3", node=1)
    await one.request("add_members", conv=conv, robots=[late.robot])
    await late.until_seq(conv, head + 1)
    redis.start()
    async with asyncio.timeout(PATIENCE_S):
        while not all(map(is_connected, nodes)):
            await asyncio.sleep(0.05)
    sent = await other.send(conv, "again")
    await one.until_seq(conv, sent["seq"])
    logs = [await whole_log(peer, conv) for peer in (one, other)]
    assert logs[0] == logs[1]
    assert [entry["seq"] for entry in logs[0]] == list(range(1, sent["seq"] + 1))


async def test_a_device_that_comes_by_another_node_ends_its_old_session(robots: Robots) -> None:
    old = await robots.online("r1", node=0)
    new = await robots.online("r1", node=1)
    assert await old.until_closed() == REPLACED
    assert (await new.request("whoami"))["result"]["robot"] == new.robot


async def test_robots_of_a_node_that_dies_go_on_by_another_or_are_told_as_lost(
    nodes: tuple[ServerProcess, ...], robots: Robots
) -> None:
    one, other, conv = await robots.pair()
    third = await robots.online("r3", node=1)
    await one.request("add_members", conv=conv, robots=[third.robot])
    await third.until_seq(conv, 2)
    nodes[1].kill()
    sent = await one.send(conv, "while they are away")
    back = await robots.online("r2", node=0)
    await back.until_seq(conv, sent["seq"])
    assert (await until_presence(one, third.robot, online=False))["how"] == "lost"
    assert presence(one, other.robot)[-1]["online"] is True


async def test_of_robots_that_a_node_sees_off_the_others_learn_from_itself(
    nodes: tuple[ServerProcess, ...], robots: Robots
) -> None:
    one, other, _ = await robots.pair()
    assert await asyncio.to_thread(nodes[1].stop) == 0
    await until_presence(one, other.robot, online=False)
    assert "route.node_gone" not in nodes[0].stderr(), "nobody else had to tell"


async def test_every_node_lists_all_nodes(nodes: tuple[ServerProcess, ...], robots: Robots) -> None:
    await robots.pair()
    for node in nodes:
        async with asyncio.timeout(PATIENCE_S):
            while [found["robots"] for found in listed(node)] != [1, 1]:
                await asyncio.sleep(0.05)
        assert {found["url"] for found in listed(node)} == {each.url for each in nodes}


def listed(node: ServerProcess) -> list[dict[str, Any]]:
    """Return the nodes as a node lists them."""
    request = urllib.request.Request(f"{node.url}/v1/nodes")
    request.add_header("Authorization", f"Bearer {node.token('boss', admin=True)}")
    with urllib.request.urlopen(request) as answer:
        found: list[dict[str, Any]] = json.load(answer)["nodes"]
        return found
