"""Nodes ask each other over a real Redis: what is answered comes back, and nobody waits for what does not."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from msgspec import Raw

from imserver.core.tasks import TaskScope
from imserver.route import hints
from imserver.route.redis import RedisRouter
from imserver.route.redis_client import connect
from imserver.route.redis_requests import RedisRequests
from imserver.route.requests import Unanswered
from tests.contract.router_contract import Ear
from tests.contract.test_redis_router import made
from tests.redis_server import RedisServer, redis_process
from tests.until import PATIENCE_S, until

FOREVER_S = 3_600


class Asking:
    """A node's router, and what asks by it."""

    def __init__(self, router: RedisRouter) -> None:
        self.router = router
        self.ear = Ear()
        router.attach(self.ear)
        self.requests = router.asking(key=b"k" * 32)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_process() as server:
        yield server


@pytest.fixture
async def nodes(server: RedisServer) -> AsyncIterator[list[Asking]]:
    """Nodes ``one`` and ``two``; the second answers with what it was asked, in brackets."""
    nodes = [Asking(made(server, name)) for name in ("one", "two")]
    async with TaskScope() as scope:
        for node in nodes:
            scope.spawn(node.router.run(), name="router")
        nodes[1].requests.on_asked = lambda question, answer: answer(packed(b"(%b)" % question))
        await until(lambda: all(node.router.is_connected for node in nodes))
        await ready(nodes)
        yield nodes
        scope.cancel_all()


async def ready(nodes: list[Asking]) -> None:
    """Return once the second node is subscribed to what it is asked."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await nodes[0].requests.ask("two", packed(b""), timeout_s=0.1)
            except Unanswered:
                continue
            return


def packed(text: bytes) -> bytes:
    """Return MessagePack bytes, which questions and answers have to be."""
    return b"\xc4%c%b" % (len(text), text)


async def asked(requests: RedisRequests, text: bytes, *, timeout_s: float = FOREVER_S) -> bytes:
    return await requests.ask("two", packed(text), timeout_s=timeout_s)


async def test_a_question_is_answered(nodes):
    async with asyncio.timeout(PATIENCE_S):
        assert await asked(nodes[0].requests, b"x") == packed(b"(%b)" % packed(b"x"))


async def test_each_gets_its_own_answer_in_whatever_order_they_come(nodes, rng: random.Random):
    kept: list[tuple[bytes, Callable[[bytes], None]]] = []
    nodes[1].requests.on_asked = lambda question, answer: kept.append((question, answer))
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        tasks = {
            number: group.create_task(asked(nodes[0].requests, b"%03d" % number))
            for number in range(200)
        }
        await until(lambda: len(kept) == len(tasks))
        assert [question for question, _ in kept] == [packed(b"%03d" % n) for n in tasks]
        rng.shuffle(kept)
        for question, answer in kept:
            answer(question)
    assert {n: task.result() for n, task in tasks.items()} == {
        n: packed(b"%03d" % n) for n in tasks
    }
    assert not nodes[0].requests._waiting


async def test_who_is_not_answered_in_time_does_without(nodes):
    nodes[1].requests.on_asked = lambda _question, _answer: None
    with pytest.raises(Unanswered, match="two did not answer"):
        await asked(nodes[0].requests, b"x", timeout_s=0.05)
    with pytest.raises(Unanswered, match="nobody did not answer"):
        await nodes[0].requests.ask("nobody", packed(b"x"), timeout_s=0.05)


async def test_an_answer_that_comes_too_late_is_nobody_elses(nodes):
    kept: list[Callable[[bytes], None]] = []
    nodes[1].requests.on_asked = lambda _question, answer: kept.append(answer)
    with pytest.raises(Unanswered):
        await asked(nodes[0].requests, b"x", timeout_s=0.05)
    await until(lambda: kept)
    kept[0](packed(b"late"))
    nodes[1].requests.on_asked = lambda _question, answer: answer(packed(b"right"))
    async with asyncio.timeout(PATIENCE_S):
        assert await asked(nodes[0].requests, b"y") == packed(b"right")


async def test_those_who_are_cancelled_leave_no_answer_to_others(nodes, rng: random.Random):
    async with asyncio.timeout(PATIENCE_S):
        for number in range(100):
            task = asyncio.create_task(asked(nodes[0].requests, b"%03d" % number))
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
            task.cancel()
            right = packed(b"(%b)" % packed(b"a%03d" % number))
            assert await asked(nodes[0].requests, b"a%03d" % number) == right
    assert not nodes[0].requests._waiting


async def test_nobody_waits_for_a_redis_that_is_gone(nodes, server):
    nodes[1].requests.on_asked = lambda _question, _answer: None
    task = asyncio.create_task(asked(nodes[0].requests, b"x"))
    await until(lambda: nodes[0].requests._waiting)
    server.kill()
    # What goes out next notices.
    nodes[0].router.tell(b"\xc0")
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Unanswered, match="lost"):
            await task
        with pytest.raises(Unanswered, match="takes nothing"):
            await asked(nodes[0].requests, b"x")


async def test_what_no_node_has_sealed_is_neither_done_nor_believed(nodes, server):
    questions: list[bytes] = []
    nodes[1].requests.on_asked = lambda question, _answer: questions.append(question)
    forged: list[tuple[str, bytes]] = []

    def put(channel: str, payload: bytes) -> bool:
        forged.append((channel, payload))
        return True

    asker, forger = (
        RedisRequests(node=node, prefix="test", key=b"x" * 32, put=put) for node in ("one", "two")
    )
    with pytest.raises(Unanswered):
        await asker.ask("two", packed(b"forged"), timeout_s=0.001)
    task = asyncio.create_task(asked(nodes[0].requests, b"x"))
    await until(lambda: nodes[0].requests._waiting)
    [number] = nodes[0].requests._waiting
    forger.on_asked = lambda _question, answer: answer(packed(b"forged"))
    question = packed(b"")
    seal = forger._seal(b"q", "one", "two", number, question)
    forger.on_question(hints.Asked("one", number, Raw(question), seal))
    async with connect(server.url) as stranger:
        for channel, payload in forged:
            await stranger.publish(channel, payload)
    for node in nodes:
        node.router.tell(b"\xc0")
    await until(lambda: all(node.ear.notices for node in nodes))  # and what came before, too
    assert questions == [packed(b"x")]
    assert not task.done()
    task.cancel()
