"""Files on two nodes: an upload that the other one takes over while its writer stands still, dies, or is
as quick, and what shares its bytes."""

import asyncio
import hashlib
import io
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from PIL import Image
from pymongo import MongoClient

from imserver.core.files import SEGMENT_BYTES
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import end
from tests.e2e.http.robot_over_http import HttpRobot
from tests.e2e.http.uploads import BYTES, LOCKED, TUS, Stalled, offset_of, upload
from tests.e2e.server_process import ServerProcess
from tests.mongo_server import MongoSet
from tests.redis_server import redis_process

SIZE = 3 * SEGMENT_BYTES + 1_000
KEPT = SEGMENT_BYTES + 77
_IS_FULL = {"$eq": [{"$binarySize": "$bytes"}, SEGMENT_BYTES]}


@pytest.fixture(scope="module")
def store(mongo_set: MongoSet) -> str:
    return mongo_set.url()


@pytest.fixture(scope="module")
def nodes(
    tmp_path_factory: pytest.TempPathFactory, store: str
) -> Iterator[tuple[ServerProcess, ...]]:
    with redis_process() as redis:
        data = tmp_path_factory.mktemp("nodes") / "node1"
        cluster = Cluster(data, store=store, route=redis.url, count=2)
        cluster.start()
        yield cluster.nodes
        for node in cluster.nodes:
            end(node)


@pytest.fixture(autouse=True)
def _no_tracebacks(nodes: tuple[ServerProcess, ...]) -> Iterator[None]:
    before = [len(node.tracebacks()) for node in nodes]
    yield
    assert before == [len(node.tracebacks()) for node in nodes], [n.stderr() for n in nodes]


@pytest.fixture
async def robots(nodes: tuple[ServerProcess, ...]) -> AsyncIterator[tuple[HttpRobot, HttpRobot]]:
    """The same robot, by each node."""
    first, second = (HttpRobot(node, "r1") for node in nodes)
    yield first, second
    await first.aclose()
    await second.aclose()


async def append(robot: HttpRobot, file: str, content: bytes, offset: int) -> httpx.Response:
    headers = TUS | {"Upload-Offset": str(offset), "Content-Type": BYTES}
    return await robot.ask("PATCH", f"/files/{file}", content=content[offset:], headers=headers)


async def uploaded(robot: HttpRobot, content: bytes, **said: str) -> str:
    file = await upload(robot, len(content), **said)
    assert (await append(robot, file, content, 0)).status_code == 204
    return file


async def assert_whole(robots: tuple[HttpRobot, ...], file: str, content: bytes) -> None:
    for robot in robots:
        answer = await robot.ask("GET", f"/files/{file}")
        assert answer.content == content
        assert hashlib.sha256(content).hexdigest() in answer.headers["ETag"]


@asynccontextmanager
async def begun(
    store: str, robot: HttpRobot, content: bytes, rng: random.Random
) -> AsyncIterator[tuple[str, Stalled]]:
    """Upload what is kept in good order, and begin a run behind it whose bytes are other ones."""
    file = await upload(robot, len(content))
    assert (await append(robot, file, content[:KEPT], 0)).status_code == 204
    wrong = rng.randbytes(SEGMENT_BYTES)
    async with Stalled(robot, file, KEPT, wrong, announced=len(content) - KEPT) as run:
        with MongoClient[Any](store) as client:
            segments = client.get_default_database().segments
            filled = {"_id.i": KEPT // SEGMENT_BYTES, "$expr": _IS_FULL, "_id.b": file}
            while segments.find_one(filled) is None:
                await asyncio.sleep(0.01)
        yield file, run


@pytest.mark.parametrize("how", ["finished", "shared", "deleted"])
async def test_a_writer_that_wakes_up_when_another_node_has_finished_spoils_nothing(
    nodes: tuple[ServerProcess, ...],
    store: str,
    robots: tuple[HttpRobot, ...],
    rng: random.Random,
    how: str,
) -> None:
    content, (first, second) = rng.randbytes(SIZE), robots
    async with begun(store, first, content, rng) as (file, run):
        os.kill(nodes[0].pid, signal.SIGSTOP)
        try:
            await run.send(rng.randbytes(len(content) - KEPT - SEGMENT_BYTES))
            assert await offset_of(second, file) == KEPT
            assert (await append(second, file, content, KEPT)).status_code == 204
            other = await uploaded(second, content) if how != "finished" else file
            if how == "deleted":
                await second.ask("DELETE", f"/files/{file}", headers=TUS)
        finally:
            os.kill(nodes[0].pid, signal.SIGCONT)
        assert await run.status() == (404 if how == "deleted" else LOCKED)
    await assert_whole(robots, other, content)
    if how == "shared":
        await assert_whole(robots, file, content)


async def test_an_upload_whose_node_is_killed_goes_on_by_the_other_one(
    nodes: tuple[ServerProcess, ...],
    store: str,
    robots: tuple[HttpRobot, ...],
    rng: random.Random,
) -> None:
    content, (first, second) = rng.randbytes(SIZE), robots
    async with begun(store, first, content, rng) as (file, _):
        nodes[0].kill()
        assert await offset_of(second, file) == KEPT
        assert (await append(second, file, content, KEPT)).status_code == 204
        nodes[0].start()
    await assert_whole(robots, file, content)


async def test_who_comes_back_by_another_node_takes_its_upload_over_at_once(
    store: str, robots: tuple[HttpRobot, ...], rng: random.Random
) -> None:
    content, (first, second) = rng.randbytes(SIZE), robots
    async with begun(store, first, content, rng) as (file, run):
        assert await offset_of(second, file) == KEPT
        assert (await append(second, file, content, KEPT)).status_code == 204
        await run.send(rng.randbytes(len(content) - KEPT - SEGMENT_BYTES))
        assert await run.status() == LOCKED
    await assert_whole(robots, file, content)


async def test_of_two_nodes_that_are_given_the_same_bytes_at_once_both_or_one_finish(
    robots: tuple[HttpRobot, ...], rng: random.Random
) -> None:
    for _ in range(2):
        content, (first, _) = rng.randbytes(SIZE), robots
        file = await upload(first, len(content))
        beside = [await upload(robot, len(content)) for robot in robots]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(append(robot, file, content, 0)) for robot in robots]
            for robot, other in zip(robots, beside, strict=True):
                group.create_task(append(robot, other, content, 0))
        found = sorted(task.result().status_code for task in tasks)
        assert set(found) <= {204, LOCKED, 409}
        offset = await offset_of(first, file)
        if offset < len(content):
            assert (await append(first, file, content, offset)).status_code == 204
        for each in (file, *beside):
            await assert_whole(robots, each, content)


async def test_a_picture_has_the_same_thumbnail_by_each_node(
    robots: tuple[HttpRobot, ...],
) -> None:
    out = io.BytesIO()
    Image.new("RGB", (1_000, 500), "red").save(out, "PNG")
    file = await uploaded(robots[0], out.getvalue(), filetype="image/png")
    small = [await robot.ask("GET", f"/files/{file}/thumbnail") for robot in robots]
    assert [answer.status_code for answer in small] == [200, 200]
    assert small[0].content == small[1].content
