"""The router over a real Redis keeps the contract, between nodes and through Redis's own troubles."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from msgspec import Raw
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from imserver.core.model import Run
from imserver.core.tasks import TaskScope
from imserver.protocol.events import Event
from imserver.route import hints
from imserver.route.metrics import RouteMetrics
from imserver.route.redis import RedisRouter
from imserver.route.redis_carrier import carrier_over
from imserver.route.redis_client import connect
from imserver.route.redis_line import RedisLine
from imserver.route.redis_publisher import QUEUED_BYTES_MAX
from tests.contract.router_contract import A, B, Ear, RouterContract, run, signal
from tests.redis_server import RedisServer, redis_process
from tests.until import PATIENCE_S, until


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_process() as server:
        yield server


def made(server: RedisServer, node: str, **settings: int) -> RedisRouter:
    metrics = RouteMetrics(CollectorRegistry())
    carrier = carrier_over(server.url, dice=random.Random(node), metrics=metrics)
    return RedisRouter(carrier, node=node, prefix="test", metrics=metrics, **settings)


def line_of(router: RedisRouter) -> RedisLine:
    assert isinstance(router._carrier, RedisLine)
    return router._carrier


@asynccontextmanager
async def running(*routers: RedisRouter) -> AsyncIterator[None]:
    async with TaskScope() as scope:
        for router in routers:
            scope.spawn(router.run(), name="router")
        yield
        scope.cancel_all()


class TestRedisRouter(RouterContract):
    @pytest.fixture
    async def router(self, server: RedisServer) -> AsyncIterator[RedisRouter]:
        router = made(server, "one")
        async with running(router):
            yield router


@pytest.fixture
def nodes(server: RedisServer) -> list[RedisRouter]:
    return [made(server, "one"), made(server, "two")]


@pytest.fixture
def ears(nodes: list[RedisRouter]) -> list[Ear]:
    ears = [Ear(), Ear()]
    for node, ear in zip(nodes, ears, strict=True):
        node.attach(ear)
    return ears


async def test_what_a_node_publishes_is_heard_by_those_that_follow(nodes, ears):
    one, two = nodes
    async with running(*nodes):
        two.follow(A)
        await until(lambda: ears[1].followed == [A])
        for seq in range(1, 101):
            one.publish(run(A, seq))
            one.publish(run(B, seq))
        one.publish_signal(signal(1))
        await ears[1].wait_heard(runs=100, signals=1)
    assert ears[1].runs == [run(A, seq) for seq in range(1, 101)]
    assert ears[1].signals == [signal(1)]
    assert ears[1].seqs(B) == []
    assert len(ears[0].runs) == 200, "the node's own, once each"


async def test_a_run_that_is_too_large_is_announced_by_its_head(nodes, ears):
    one, two = nodes
    body = Raw(b"\xc5\xff\xff" + bytes(65_535))
    large = Run(A, "epoch-1", [Event(7, 1, "r1", "c", "message", body)])
    async with running(*nodes):
        two.follow(A)
        await until(lambda: ears[1].followed == [A])
        one.publish(large)
        await until(lambda: ears[1].heads == [(A, 7)])
    assert ears[0].runs == [large] and ears[1].runs == []


async def test_no_event_goes_through_redis_where_that_is_not_wanted(server):
    nodes = [made(server, node, carried_bytes_max=0) for node in ("one", "two")]
    ears = [Ear(), Ear()]
    for node, ear in zip(nodes, ears, strict=True):
        node.attach(ear)
    async with running(*nodes):
        nodes[1].follow(A)
        await until(lambda: ears[1].followed == [A])
        nodes[0].publish(run(A, 1, count=3))
        await until(lambda: ears[1].heads)
    assert ears[1].heads == [(A, 3)] and ears[1].runs == []


@pytest.mark.parametrize(
    "hint",
    [
        hints.Committed("one", run(A, 1)),
        hints.HeadMoved("one", A, 1),
        hints.Signalled("one", signal(1)),
        hints.Notice("one", Raw(b"\x90")),
    ],
    ids=lambda hint: type(hint).__name__,
)
def test_a_node_knows_its_own_hints_without_reading_them(hint):
    payload = hints.encode(hint)
    assert hints.is_of(payload, hints.begins_as("one"))
    assert not hints.is_of(payload, hints.begins_as("two"))
    assert not hints.is_of(payload, hints.begins_as("on"))


async def test_what_was_handed_on_arrives_though_the_node_ends_at_once(nodes, ears):
    one, two = nodes
    async with running(two):
        two.follow(A)
        await until(lambda: ears[1].followed == [A] and ears[1].connections)
        async with running(one):
            for seq in range(1, 2_001):
                one.publish(run(A, seq))
            one.tell(b"\x90")
            await one.handed_on()
        await until(lambda: ears[1].notices)
    assert ears[1].seqs(A) == list(range(1, 2_001))


async def test_nothing_waits_to_be_handed_on_to_a_redis_that_is_down(server, nodes, ears):
    one = nodes[0]
    async with running(one):
        server.kill()
        one.publish(run(A, 1))
        async with asyncio.timeout(PATIENCE_S):
            await one.handed_on()
        one.publish(run(A, 2))
        async with asyncio.timeout(PATIENCE_S):
            await one.handed_on()


async def test_a_notice_reaches_every_other_node(nodes, ears):
    async with running(*nodes):
        await until(lambda: ears[0].connections and ears[1].connections)
        nodes[0].tell(b"\x93\x01\x02\x03")
        await until(lambda: ears[1].notices)
    assert ears[1].notices == [b"\x93\x01\x02\x03"] and ears[0].notices == []


async def test_after_redis_was_killed_everything_is_followed_again(server, nodes, ears):
    one, two = nodes
    async with running(*nodes):
        two.follow(A)
        await until(lambda: ears[1].followed == [A])
        server.kill()
        await until(lambda: not two.is_connected)
        two.follow(B)
        one.publish(run(A, 1))
        await until(lambda: not line_of(one).publisher.is_connected)
        server.start()
        await until(lambda: ears[1].followed.count(A) == 2 and B in ears[1].followed)
        await until(lambda: one.is_connected)
        assert (ears[0].times_unheard, ears[1].times_unheard) == (1, 0)
        one.publish(run(A, 2))
        one.publish(run(B, 1))
        await ears[1].wait_heard(runs=2)
    assert (ears[1].seqs(A), ears[1].seqs(B)) == ([2], [1])
    assert ears[0].seqs(A) == [1, 2], "the node itself hears what Redis does not take"


async def test_a_redis_that_hangs_is_noticed_and_holds_up_nobody(server, nodes, ears, monkeypatch):
    monkeypatch.setattr("imserver.route.redis_subscriber.QUIET_S", 0.1)
    one, two = nodes
    async with running(*nodes):
        await until(lambda: one.is_connected and two.is_connected)
        server.pause()
        for seq in range(1, 501):
            one.publish(run(A, seq))
        assert ears[0].seqs(A) == list(range(1, 501))
        await until(lambda: not one.is_connected)
        server.go_on()
        await until(lambda: one.is_connected and two.is_connected)


async def test_many_conversations_are_followed_and_let_go(nodes, ears):
    one, two = nodes
    convs = [f"g/many-{number}" for number in range(2_000)]
    async with running(*nodes):
        for conv in convs:
            two.follow(conv)
        await until(lambda: len(ears[1].followed) == len(convs))
        for conv in convs[1:]:
            two.unfollow(conv)
        two.follow(A)
        await until(lambda: ears[1].followed[-1] == A)
        for conv in convs:
            one.publish(run(conv, 1))
        one.publish(run(A, 1))
        await until(lambda: ears[1].seqs(A))
    assert [each.conv for each in ears[1].runs] == [convs[0], A]


async def test_what_is_wanted_again_before_redis_has_let_it_go_can_be_let_go_again(
    server, nodes, ears
):
    _, two = nodes
    subscribed = line_of(two).subscriber._subscribed
    async with running(two):
        two.follow(A)
        await until(lambda: ears[1].followed == [A])
        server.pause()
        two.unfollow(A)
        await until(lambda: len(subscribed) == 1)
        two.follow(A)
        await until(lambda: len(subscribed) == 2)
        server.go_on()
        await until(lambda: ears[1].followed == [A, A])
        two.unfollow(A)
        async with Redis.from_url(server.url) as redis:
            while dict(await redis.pubsub_numsub(f"test:conv:{A}")).popitem()[1]:
                await asyncio.sleep(0.002)


async def test_what_arrives_is_not_written_out_as_text(nodes, ears, caplog):
    caplog.set_level("DEBUG", logger="push_response")
    one, two = nodes
    async with running(*nodes):
        two.follow(A)
        await until(lambda: ears[1].followed == [A])
        one.publish(run(A, 1))
        await ears[1].wait_heard(runs=1)
    assert [record for record in caplog.records if record.name == "push_response"] == []


async def test_what_cannot_be_read_is_passed_over(server, nodes, ears):
    two = nodes[1]
    async with running(*nodes):
        two.follow(A)
        await until(lambda: ears[1].followed == [A])
        async with connect(server.url) as stranger:
            empty = hints.encode(hints.Committed("one", Run(A, "epoch-1", [])))
            for junk in (b"", b"\xff" * 10, b"\x93\xa1c\xa3oneX", b"\x92\xa1z\xa3one", empty):
                await stranger.publish(f"test:conv:{A}", junk)
        nodes[0].publish(run(A, 1))
        await ears[1].wait_heard(runs=1)
    assert ears[1].runs == [run(A, 1)]


def test_its_queue_is_bounded(server, nodes, ears):
    one = nodes[0]  # nothing runs, so nothing is written
    body = Raw(b"\xc5\xc3\x50" + bytes(50_000))
    for seq in range(1, 301):
        one.publish(Run(A, "epoch-1", [Event(seq, 1, "r1", "c", "message", body)]))
    assert line_of(one).publisher._bytes <= QUEUED_BYTES_MAX
    assert ears[0].seqs(A) == list(range(1, 301))
