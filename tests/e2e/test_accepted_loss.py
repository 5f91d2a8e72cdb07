"""Robots that are ahead of a store that lost its end, once an operator has accepted that.

The server and its store are real processes and the robots the SDK's, which come back by themselves: nobody is
left with events that are gone, and nobody waits for numbers that are given again.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from client_sdk import Event, Gap, Options, Robot
from imserver.data.directory import DATABASE_NAME
from imserver.data.sqlite.wal import wal_path
from tests.e2e.conftest import StartServer
from tests.e2e.never_idle import PREFIX
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_recovery import FRAME, flip
from tests.mongo_server import MongoSet
from tests.until import PATIENCE_S

pytestmark = [
    pytest.mark.process,
    pytest.mark.one_node(reason="it sets back the store of the one server that runs on it"),
]

QUICK = Options(backoff_base_s=0.02, backoff_cap_s=0.2)
KEPT, LOST = 10, 10
TAIL_FRAMES = 20

Robots = Callable[[str], Robot]


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """A server of this test's own, of whose files the end may be damaged."""
    return start_server(prefix=PREFIX)


@pytest.fixture
def robots(tmp_path: Path) -> Callable[[ServerProcess], Robots]:
    """Robots with memories, by name: each time the next process of the same robot."""

    def on(server: ServerProcess) -> Robots:
        def robot(name: str) -> Robot:
            key = tmp_path / f"{name}.key"
            token = None if key.exists() else server.enroll(name)
            memory = tmp_path / f"{name}.memory"
            return Robot(
                server.ws_url, name=name, key=key, token=token, memory=memory, options=QUICK
            )

        return robot

    return on


async def taken(robot: Robot, *, until: Any) -> list[Event | Gap]:
    """Return what a robot is given up to the event with a body, which is done then."""
    seen: list[Event | Gap] = []
    async with asyncio.timeout(PATIENCE_S):
        async for item in robot.events(gaps=True):
            seen.append(item)
            if isinstance(item, Event):
                robot.done(item)
                if item.body == until:
                    return seen
    raise AssertionError("the events ended")


async def sent(robot: Robot, conv: str, bodies: range) -> None:
    for body in bodies:
        await robot.send(conv, body)


def bodies_of(seen: list[Event | Gap]) -> list[Any]:
    return [item.body for item in seen if isinstance(item, Event) and item.kind == "message"]


async def assert_all_go_on(
    server: ServerProcess, robot: Robots, *, remember: Callable[[], None], lose: Callable[[], None]
) -> None:
    """Have robots see events, take the last of these away behind ``remember``, and have them go on."""
    last = KEPT + LOST - 1
    async with robot("away") as away, robot("a") as a, robot("b") as b:
        conv = await a.create_group("dock", ["b", "away"])
        await sent(a, conv, range(KEPT))
        await asyncio.to_thread(remember)
        await sent(a, conv, range(KEPT, KEPT + LOST))
        for each in (away, a, b):
            assert bodies_of(await taken(each, until=last)) == list(range(last + 1))
        await away.aclose()
        await asyncio.to_thread(lose)
        unsure = asyncio.create_task(b.send(conv, "unsure"))
        await asyncio.to_thread(server.start)
        first = await unsure
        head = first.seq - 1
        assert KEPT < head <= KEPT + LOST, "some are lost, and not those that were remembered"
        old = list(range(head - 1))
        for each in (a, b):
            assert_told(await taken(each, until="unsure"), [*old, "unsure"])
        await sent(a, conv, range(100, 100 + 2 * LOST))  # beyond where the one that is away was
        bodies = [*old, "unsure", *range(100, 100 + 2 * LOST)]
        async with robot("away") as again:
            assert_told(await taken(again, until=bodies[-1]), bodies)
            log = await again.history(conv, limit=1_000)
    assert [event.body for event in log[1:]] == bodies
    assert [event.seq for event in log] == list(range(1, len(log) + 1))


def assert_told(seen: list[Event | Gap], bodies: list[Any]) -> None:
    """Assert that a robot was told what is lost, and given the log anew from where the server knew it to be:
    the group's creation, and messages with ``bodies``."""
    gap, *events = seen
    assert isinstance(gap, Gap)
    assert (gap.why, gap.first, gap.last) == ("restored", gap.after + 1, KEPT + LOST + 1)
    given = {event.seq: event.body for event in events if isinstance(event, Event)}
    assert list(given) == list(range(gap.first, len(bodies) + 2))
    assert all(event.epoch == gap.epoch for event in events)
    given.pop(1, None)
    assert list(given.values()) == bodies[-len(given) :]


async def test_robots_go_on_after_the_end_of_a_damaged_file(
    server: ServerProcess, robots: Callable[[ServerProcess], Robots]
) -> None:
    def lose() -> None:
        server.kill()
        flip(wal_path(server.data / DATABASE_NAME), -TAIL_FRAMES * FRAME)
        assert "new epoch" in server.command("accept-loss")

    await assert_all_go_on(server, robots(server), remember=lambda: None, lose=lose)
    server.stop()
    assert "sound" in server.command("check")


async def test_robots_go_on_after_a_database_was_set_back(
    start_server: StartServer,
    robots: Callable[[ServerProcess], Robots],
    mongo_set: MongoSet,
) -> None:
    store = mongo_set.url()
    server = start_server(arguments=["--store", store])
    backup: dict[str, list[Any]] = {}

    def remember() -> None:
        with MongoClient[Any](store) as client:
            database = client.get_default_database()
            for name in database.list_collection_names():
                backup[name] = list(database[name].find())

    def lose() -> None:
        server.stop()
        with MongoClient[Any](store) as client:
            database = client.get_default_database()
            for name in database.list_collection_names():
                database[name].delete_many({})
                if backup.get(name):
                    database[name].insert_many(backup[name])
            database.nodes.delete_many({})  # who had it open then is there no longer
        assert "new epoch" in server.command("accept-loss", "--store", store)

    await assert_all_go_on(server, robots(server), remember=remember, lose=lose)
    server.stop()
    assert "sound" in server.command("check", "--store", store)
