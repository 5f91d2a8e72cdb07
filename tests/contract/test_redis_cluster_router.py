"""The router over a real Redis Cluster keeps the contract, while slots move and masters fail."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from imserver.core.tasks import TaskScope
from imserver.protocol.names import ConversationName
from imserver.route import redis_subscriber
from imserver.route.metrics import RouteMetrics
from imserver.route.redis import RedisRouter
from imserver.route.redis_carrier import carrier_over
from imserver.route.redis_line import RedisLine
from imserver.route.redis_shards import RedisShards
from imserver.route.slots import partition_of, slot_of
from tests.contract.router_contract import A, B, Ear, RouterContract, run, signal
from tests.redis_cluster import RedisClusterServers, call, redis_cluster, wait_until
from tests.redis_server import RedisServer
from tests.until import until

PATIENCE_S = 50


def made(cluster: RedisClusterServers, node: str, *, prefix: str = "test") -> RedisRouter:
    metrics = RouteMetrics(CollectorRegistry())
    carrier = carrier_over(cluster.url, dice=random.Random(node), metrics=metrics)
    assert isinstance(carrier, RedisShards)
    return RedisRouter(carrier, node=node, prefix=prefix, metrics=metrics)


def lines_of(router: RedisRouter) -> list[RedisLine]:
    assert isinstance(router._carrier, RedisShards)
    return [served.line for served in router._carrier._lines.values()]


@asynccontextmanager
async def running(*routers: RedisRouter) -> AsyncIterator[None]:
    async with TaskScope() as scope:
        for router in routers:
            scope.spawn(router.run(), name="router")
        await until(lambda: all(router.is_connected for router in routers))
        yield
        scope.cancel_all()


class TestRedisClusterRouter(RouterContract):
    @pytest.fixture
    async def router(
        self, shared_redis_cluster: RedisClusterServers, request: pytest.FixtureRequest
    ) -> AsyncIterator[RedisRouter]:
        router = made(shared_redis_cluster, "one", prefix=request.node.name)
        async with TaskScope() as scope:
            scope.spawn(router.run(), name="router")
            yield router
            scope.cancel_all()


class Pair:
    """Two nodes, and what they hear; the second one follows what the test says."""

    def __init__(self, cluster: RedisClusterServers, prefix: str) -> None:
        self.one, self.two = (made(cluster, node, prefix=prefix) for node in ("one", "two"))
        self.ears = Ear(), Ear()
        for router, ear in zip((self.one, self.two), self.ears, strict=True):
            router.attach(ear)

    async def follow(self, *convs: ConversationName) -> None:
        for conv in convs:
            self.two.follow(conv)
        await until(lambda: set(convs) <= set(self.ears[1].followed))

    async def until_heard(self, conv: ConversationName, first: int) -> None:
        """Publish from ``first`` on until one of these events is heard, as hints may be lost."""
        seq = first
        async with asyncio.timeout(PATIENCE_S):
            while self.ears[1].seqs(conv)[-1:] < [first]:
                self.one.publish(run(conv, seq))
                seq += 1
                await asyncio.sleep(0.02)


@pytest.fixture
def pair(shared_redis_cluster: RedisClusterServers, request: pytest.FixtureRequest) -> Pair:
    return Pair(shared_redis_cluster, request.node.name)


def convs_of_masters(cluster: RedisClusterServers, prefix: str) -> list[ConversationName]:
    """Return a conversation for each master, which has its channel."""
    found: dict[int, ConversationName] = {}
    for number in range(1_000):
        conv = ConversationName(f"g/{number}")
        found.setdefault(cluster.master_of(f"{prefix}:conv:{conv}").port, conv)
        if len(found) == len(cluster.masters):
            break
    return [found[server.port] for server in cluster.masters]


def channels(
    cluster: RedisClusterServers, prefix: str, server: RedisServer | None = None
) -> list[bytes]:
    """Return the channels that somebody is subscribed to, on one server or on all."""
    servers = cluster.masters if server is None else [server]
    asked = ("PUBSUB", "SHARDCHANNELS", f"*{prefix}:*")
    return [channel for each in servers for channel in call(each, *asked)]


async def test_what_a_node_publishes_is_heard_by_those_that_follow(
    pair, shared_redis_cluster, request
):
    convs = convs_of_masters(shared_redis_cluster, request.node.name)
    async with running(pair.one, pair.two):
        await pair.follow(*convs)
        for seq in range(1, 51):
            for conv in convs:
                pair.one.publish(run(conv, seq))
            pair.one.publish(run(B, seq))
        pair.one.publish_signal(signal(1, conv=convs[0]))
        await pair.ears[1].wait_heard(runs=150, signals=1)
        await until(lambda: pair.ears[0].connections and pair.ears[1].connections)
        pair.one.tell(b"\x93\x01\x02\x03")
        await until(lambda: pair.ears[1].notices)
    for conv in convs:
        assert pair.ears[1].seqs(conv) == list(range(1, 51))
    assert pair.ears[1].seqs(B) == []
    assert pair.ears[0].notices == [] and len(pair.ears[0].runs) == 200


async def test_many_conversations_are_followed_and_let_go(pair, shared_redis_cluster, request):
    convs = [ConversationName(f"g/many-{number}") for number in range(2_000)]
    async with running(pair.one, pair.two):
        await pair.follow(*convs)
        assert sorted(pair.ears[1].followed) == sorted(convs)
        for conv in convs[1:]:
            pair.two.unfollow(conv)
        await pair.follow(A)
        await until(lambda: len(channels(shared_redis_cluster, request.node.name)) == 3)
        for conv in convs:
            pair.one.publish(run(conv, 1))
        pair.one.publish(run(A, 1))
        await until(lambda: pair.ears[1].seqs(A) and pair.ears[1].seqs(convs[0]))
    assert {each.conv for each in pair.ears[1].runs} == {convs[0], A}


async def test_subscribers_only_hear_of_their_own_shard(shared_redis_cluster, pair, request):
    convs = convs_of_masters(shared_redis_cluster, request.node.name)
    async with running(pair.one, pair.two):
        await pair.follow(*convs)
        found = [
            channels(shared_redis_cluster, f"{request.node.name}:conv", server)
            for server in shared_redis_cluster.masters
        ]
        assert [len(each) for each in found] == [1, 1, 1]
        for server in shared_redis_cluster.masters:
            assert call(server, "PUBSUB", "CHANNELS") == []


@pytest.fixture(scope="module")
def _own_cluster() -> Iterator[RedisClusterServers]:
    with redis_cluster() as cluster:
        yield cluster


@pytest.fixture
def own_cluster(_own_cluster: RedisClusterServers) -> RedisClusterServers:
    """Three masters that may be tormented, and are well again."""
    for server in _own_cluster.masters:
        if not server.running:
            server.start()
    wait_until(_own_cluster.is_well)
    return _own_cluster


@pytest.fixture
def cluster_with_replica() -> Iterator[RedisClusterServers]:
    with redis_cluster(replica=True) as cluster:
        yield cluster


async def test_a_slot_that_moves_takes_its_conversations_along(own_cluster):
    pair = Pair(own_cluster, "test")
    own = [
        ConversationName(f"g/{number}")
        for number in range(20_000)
        if partition_of(f"test:conv:g/{number}") == partition_of(f"test:conv:{A}")
    ][:10]
    async with running(pair.one, pair.two):
        await pair.follow(A, *own)
        await pair.until_heard(A, 1)
        before = own_cluster.master_of(f"test:conv:{A}")
        for server in own_cluster.masters:
            if server is not before:
                own_cluster.move(f"test:conv:{A}", server)
                await until(lambda: pair.ears[1].followed.count(A) == 2)
                break
        assert own_cluster.master_of(f"test:conv:{A}") is server
        await pair.until_heard(A, 1_000)
        for conv in own:
            await pair.until_heard(conv, 1)
        await until(lambda: pair.one.is_connected and pair.two.is_connected)
    assert {pair.ears[1].followed.count(conv) for conv in own} == {2}


async def test_when_a_master_fails_its_replica_goes_on(cluster_with_replica):
    own_cluster = cluster_with_replica
    pair = Pair(own_cluster, "test")
    convs = convs_of_masters(own_cluster, "test")
    failing = own_cluster.masters[0]
    async with running(pair.one, pair.two):
        await pair.follow(*convs)
        for conv in convs:
            await pair.until_heard(conv, 1)
        failing.kill()
        await until(lambda: not pair.two.is_connected)
        own_cluster.take_over()
        await until(lambda: pair.one.is_connected and pair.two.is_connected)
        await until(lambda: pair.ears[1].followed.count(convs[0]) >= 2)
        for conv in convs:
            await pair.until_heard(conv, 1_000)
        moved = f"test:conv:{convs[0]}"  # each server hears of it in its own time
        await until(lambda: own_cluster.master_of(moved) is own_cluster.replica)


async def test_a_master_that_comes_back_is_followed_again_and_the_others_go_on(own_cluster):
    pair = Pair(own_cluster, "test")
    convs = convs_of_masters(own_cluster, "test")
    failing = own_cluster.masters[1]
    async with running(pair.one, pair.two):
        await pair.follow(*convs)
        call(own_cluster.masters[0], "CONFIG", "SET", "cluster-require-full-coverage", "no")
        failing.kill()
        await until(lambda: not pair.two.is_connected)
        pair.one.publish(run(convs[1], 1))
        await until(lambda: not all(line.publisher.is_connected for line in lines_of(pair.one)))
        assert pair.ears[0].seqs(convs[1]) == [1], "the node itself hears what is not carried"
        failing.start()
        await until(lambda: pair.one.is_connected and pair.two.is_connected)
        await until(lambda: pair.ears[1].followed.count(convs[1]) == 2)
        await until(lambda: pair.ears[0].times_unheard)
        for conv in convs:
            await pair.until_heard(conv, 1_000)


async def test_a_cluster_that_hangs_is_noticed_and_holds_up_nobody(own_cluster, monkeypatch):
    monkeypatch.setattr(redis_subscriber, "QUIET_S", 0.1)
    pair = Pair(own_cluster, "test")
    async with running(pair.one, pair.two):
        for server in own_cluster.masters:
            server.pause()
        for seq in range(1, 501):
            pair.one.publish(run(A, seq))
        assert pair.ears[0].seqs(A) == list(range(1, 501))
        await until(lambda: not pair.one.is_connected)
        for server in own_cluster.masters:
            server.go_on()
        await until(lambda: pair.one.is_connected and pair.two.is_connected)


async def test_a_cluster_that_is_not_there_yet_is_waited_for(own_cluster):
    own_cluster.kill()
    pair = Pair(own_cluster, "test")
    async with TaskScope() as scope:
        for router in (pair.one, pair.two):
            scope.spawn(router.run(), name="router")
        pair.two.follow(A)
        pair.one.publish(run(A, 1))
        assert not pair.one.is_connected
        for server in own_cluster.servers:
            server.start()
        await until(lambda: pair.ears[1].followed == [A] and pair.one.is_connected)
        await pair.until_heard(A, 2)
        assert pair.ears[0].times_unheard == 1, "what was published before was lost"
        scope.cancel_all()


def test_a_partition_has_one_slot_and_all_slots_are_spread():
    slots = [slot_of(partition) for partition in range(256)]
    assert len(set(slots)) > 250
    thirds = [sum(1 for slot in slots if slot * 3 // 16_384 == part) for part in range(3)]
    assert min(thirds) > 60
