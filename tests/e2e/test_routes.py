"""Two nodes over one Redis, and over a Redis Cluster of three masters: what they do for each other."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from imserver.protocol.errors import CloseCode
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import end
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_cli import imserver
from tests.e2e.test_cluster import PATIENCE_S, REPLACED, Robots, metric
from tests.e2e.test_crash import whole_log
from tests.e2e.test_presence_and_signals import until_presence
from tests.mongo_server import MongoSet
from tests.redis_cluster import redis_cluster
from tests.redis_server import RedisServer

FORWARDED, SERVED = (f"imserver_appends_{what}_total" for what in ("forwarded", "served"))
ALWAYS = {"IMSERVER_ROUTE_FORWARD": "always"}


@pytest.fixture(scope="module", params=["redis", "redis-cluster"])
def route(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("running_redis")
        yield redis.url
    else:
        with redis_cluster() as cluster:
            yield cluster.url


@pytest.fixture(scope="module")
def nodes(
    tmp_path_factory: pytest.TempPathFactory, mongo_set: MongoSet, route: str
) -> Iterator[tuple[ServerProcess, ...]]:
    data = tmp_path_factory.mktemp("routes") / "data"
    cluster = Cluster(data, store=mongo_set.url(), route=route, count=2, environment=ALWAYS)
    cluster.start()
    yield cluster.nodes
    end(cluster)
    assert not cluster.tracebacks(), cluster.stderr()


@pytest.fixture
async def robots(nodes: tuple[ServerProcess, ...]) -> AsyncIterator[Robots]:
    robots = Robots(nodes)
    yield robots
    await robots.fleet.aclose()


async def test_what_one_node_is_sent_the_other_appends_and_both_deliver(
    nodes: tuple[ServerProcess, ...], robots: Robots
) -> None:
    one, other, conv = await robots.pair()
    head = 1
    async with asyncio.timeout(PATIENCE_S):  # at first they do not know of each other
        while not any(metric(node, FORWARDED) for node in nodes):
            for peer in (one, other):
                head = (await peer.send(conv, head))["seq"]
    assert sum(metric(node, SERVED) for node in nodes) > 0
    logs = [await peer.until_seq(conv, head) for peer in (one, other)]
    assert logs[0] == logs[1] == await whole_log(one, conv)
    assert [entry["seq"] for entry in logs[0]] == list(range(1, head + 1))


async def test_who_comes_and_goes_by_one_node_is_told_by_the_other(robots: Robots) -> None:
    one, other, _ = await robots.pair()
    await other.close()
    assert (await until_presence(one, other.robot, online=False))["how"] == "clean"
    again = await robots.online("r2", node=1)
    await until_presence(one, again.robot, online=True)
    await again.vanish()
    assert (await until_presence(one, again.robot, online=False))["how"] == "lost"


async def test_a_device_that_comes_by_another_node_ends_its_old_session(robots: Robots) -> None:
    old = await robots.online("r1", node=0)
    new = await robots.online("r1", node=1)
    assert await old.until_closed() == REPLACED
    assert (await new.request("whoami"))["result"]["robot"] == new.robot


async def test_a_robot_that_is_revoked_by_one_node_is_out_of_the_other(
    nodes: tuple[ServerProcess, ...], robots: Robots
) -> None:
    one, other, _ = await robots.pair()
    await asyncio.to_thread(asked, nodes[0], f"/v1/robots/{other.robot}", method="DELETE")
    assert await other.until_closed() == CloseCode.REVOKED
    await until_presence(one, other.robot, online=False)


async def test_every_node_lists_all_nodes(nodes: tuple[ServerProcess, ...], robots: Robots) -> None:
    await robots.pair()
    for node in nodes:
        async with asyncio.timeout(PATIENCE_S):
            while [found["robots"] for found in listed(node)] != [1, 1]:
                await asyncio.sleep(0.05)
        assert {found["url"] for found in listed(node)} == {each.url for each in nodes}
    access = ("--url", nodes[1].url, "--data", nodes[1].data, "--json")
    done = await asyncio.to_thread(imserver, "nodes", *access)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(each["url"], each["robots"]) for each in told} == {(node.url, 1) for node in nodes}


def listed(node: ServerProcess) -> list[dict[str, Any]]:
    """Return the nodes as a node lists them."""
    found: list[dict[str, Any]] = json.loads(asked(node, "/v1/nodes"))["nodes"]
    return found


def asked(node: ServerProcess, path: str, *, method: str = "GET") -> bytes:
    """Return what a node answers an admin."""
    request = urllib.request.Request(node.url + path, method=method)
    request.add_header("Authorization", f"Bearer {node.token('boss', admin=True)}")
    with urllib.request.urlopen(request) as answer:
        body: bytes = answer.read()
        return body
