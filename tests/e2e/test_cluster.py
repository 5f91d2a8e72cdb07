"""Two nodes on one store: what robots see when a node, or what connects the nodes, goes away."""

import asyncio
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imserver.protocol.errors import CloseCode
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import end
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_crash import whole_log
from tests.e2e.test_presence_and_signals import presence, until_presence
from tests.e2e.test_rotation import signed
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

    async def online(self, robot: str, *, node: int, **fields: Any) -> Peer:
        self.fleet.server = self._nodes[node]
        return await self.fleet.online(robot, **fields)

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


def metric(node: ServerProcess, name: str) -> float:
    with urllib.request.urlopen(node.url + "/metrics") as answer:
        found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.M)
    assert found is not None, "the metric is there"
    return float(found[1])


def is_connected(node: ServerProcess) -> bool:
    return metric(node, "imserver_route_connected") == 1


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


async def test_without_redis_who_came_with_a_key_that_was_replaced_is_out_on_the_other_node_too(
    robots: Robots, redis: RedisServer
) -> None:
    peer, other, _ = await robots.pair()
    arm = await robots.online("r1", node=1, device="arm")
    old, new = await robots.fleet.register("r1"), Ed25519PrivateKey.generate()
    redis.kill()
    await peer.request("rotate_key", **signed(peer, old, new))
    assert await arm.until_closed() == CloseCode.KEY_REPLACED
    for stays in (peer, other):
        await stays.settle()


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
    gone = await until_presence(one, other.robot, online=False)
    assert gone["how"] == "clean", "it was told to go and has answered: nothing is lost"
    assert "route.node_gone" not in nodes[0].stderr(), "nobody else had to tell"


@pytest.mark.one_node(reason="a node that never joins the others")
def test_a_node_that_is_told_to_end_before_it_is_ready_ends(
    tmp_path: Path, mongo_set: MongoSet
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a Redis that says nothing
        route = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        serve = [sys.executable, "-m", "imserver", "serve", "--listen", "127.0.0.1:0"]
        places = ["--data", str(tmp_path), "--store", mongo_set.url(), "--route", route]
        with subprocess.Popen([*serve, *places], stdout=subprocess.PIPE, text=True) as node:
            connection, _ = silent.accept()
            node.terminate()
            said, _ = node.communicate(timeout=PATIENCE_S)
            connection.close()
    assert (node.returncode, said) == (0, "")
