"""Long polls: they wait for what comes next, and bring it once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from imserver.access.http.visit import session_for
from imserver.core.http_settings import HttpSettings
from imserver.core.settings import Settings
from imserver.core.warrant import Warrant
from imserver.protocol.names import RobotName
from tests.unit.access.http.api_in_memory import Answer, Api, api_in_memory

DOCK = "/v1/groups/dock"
LONG_S = 3_600
"""Longer than any test: who waits so long and is answered was answered for another reason."""


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with api_in_memory(Settings(http=HttpSettings(wait_max_s=LONG_S, stays_max=3))) as api:
        yield api


class Waiting:
    """A long poll under way."""

    def __init__(self, api: Api, query: str, robot: str, path: str = DOCK) -> None:
        asking = api.ask("GET", f"{path}/events?{query}&wait={LONG_S}", robot=robot)
        self._task = asyncio.get_running_loop().create_task(asking)

    @property
    def is_answered(self) -> bool:
        return self._task.done()

    async def answer(self) -> Answer:
        """Return the answer, which comes without any time passing."""
        return await self._task

    async def seqs(self) -> list[int]:
        """Return the seq of the events in the answer."""
        return [event["seq"] for event in (await self.answer()).json["events"]]


async def waiting(api: Api, query: str = "after=1", robot: str = "r2", **more: Any) -> Waiting:
    """Return a long poll that has come to wait."""
    stays = len(api.node.node.stays)
    poll = Waiting(api, query, robot, **more)
    while len(api.node.node.stays) == stays and not poll.is_answered:
        await asyncio.sleep(0)
    assert not poll.is_answered, await poll.answer()
    return poll


async def test_a_poll_is_answered_at_once_if_there_are_events(api: Api):
    await api.send("r1", DOCK, "hi", key="c1")
    answer = await api.ask("GET", f"{DOCK}/events?after=0&wait={LONG_S}", robot="r2")
    assert [event["seq"] for event in answer.json["events"]] == [1, 2]


async def test_a_poll_waits_for_the_next_event(api: Api):
    poll = await waiting(api)
    await api.node.settle()
    assert not poll.is_answered
    await api.send("r1", DOCK, "hi", key="c1")
    answer = await poll.answer()
    assert answer.json["seq"] == 2
    assert [event["body"] for event in answer.json["events"]] == ["hi"]


async def test_polls_one_after_the_other_bring_the_log_as_it_is(api: Api):
    after, log = 1, []
    for number in range(5):
        poll = await waiting(api, f"after={after}")
        await api.send("r1", DOCK, number, key=f"c{number}")
        log += await poll.seqs()
        after = log[-1]
    assert log == [2, 3, 4, 5, 6]


async def test_a_poll_brings_no_more_events_than_it_asks_for(api: Api):
    api.node.store.commits.shut = True
    poll = await waiting(api, "after=1&limit=2")
    sends = [api.send("r1", DOCK, number, key=f"c{number}") for number in range(5)]
    tasks = [asyncio.get_running_loop().create_task(send) for send in sends]
    await api.node.settle()
    api.node.store.commits.open()
    assert len(await poll.seqs()) in (1, 2)
    await asyncio.gather(*tasks)


async def test_a_poll_whose_time_is_over_brings_nothing(api: Api):
    answer = await api.ask("GET", f"{DOCK}/events?after=1&wait=0.01", robot="r2")
    assert (answer.status, answer.json["events"], answer.json["seq"]) == (200, [], 1)


async def test_a_poll_waits_no_longer_than_the_server_lets_it():
    async with api_in_memory(Settings(http=HttpSettings(wait_max_s=0.01))) as api:
        answer = await api.ask("GET", f"{DOCK}/events?after=1&wait={LONG_S}", robot="r2")
    assert (answer.status, answer.json["events"]) == (200, [])


async def test_a_poll_from_beyond_the_head_does_not_wait(api: Api):
    answer = await api.ask("GET", f"{DOCK}/events?after=7&wait={LONG_S}", robot="r2")
    assert (answer.json["events"], answer.json["seq"]) == ([], 1)


@pytest.mark.parametrize("query", ["wait=1", "after=1&wait=1&view=messages", "before=5&wait=1"])
async def test_a_wait_without_a_place_is_refused(api: Api, query: str):
    answer = await api.ask("GET", f"{DOCK}/events?{query}", robot="r2")
    assert (answer.status, answer.code) == (400, "bad_frame")


@pytest.mark.parametrize("wait", ["-1", "x", "nan", "inf", "1e9", ""])
async def test_a_wait_that_cannot_be_is_refused(api: Api, wait: str):
    answer = await api.ask("GET", f"{DOCK}/events?after=1&wait={wait}", robot="r2")
    assert (answer.status, answer.code) == (400, "bad_frame")


async def test_a_robot_that_is_removed_learns_that_and_nothing_more(api: Api):
    poll = await waiting(api)
    owner = session_for(Warrant(RobotName("r1"), 0))
    await api.node.node.cases.groups.remove(owner, "g/dock", ["r2"])
    answer = await poll.answer()
    after = await api.ask("GET", f"{DOCK}/events?after=2&wait={LONG_S}", robot="r2")
    assert [event["kind"] for event in answer.json["events"]] == ["members_removed"]
    assert after.code == "not_found"


async def test_a_robot_that_is_removed_before_it_waits_is_not_let_wait(api: Api):
    api.node.store.pages.shut = True
    poll = Waiting(api, "after=1", "r2")
    while not len(api.node.store.pages):
        await asyncio.sleep(0)
    owner = session_for(Warrant(RobotName("r1"), 0))
    await api.node.node.cases.groups.remove(owner, "g/dock", ["r2"])
    api.node.store.pages.open()
    assert (await poll.answer()).code == "not_found"


async def test_a_robot_polls_only_so_often_at_a_time(api: Api):
    polls = [await waiting(api) for _ in range(3)]
    refused = await api.ask("GET", f"{DOCK}/events?after=1&wait={LONG_S}", robot="r2")
    other = await waiting(api, robot="r1")
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.headers["retry-after"] == "1"
    await api.send("r1", DOCK, "hi", key="c1")
    assert [await poll.seqs() for poll in [*polls, other]] == [[2]] * 4
    assert len(api.node.node.stays) == 0


async def test_a_poll_ends_with_its_connection(api: Api):
    poll = await waiting(api)
    assert api.link.stay is not None
    api.link.stay.on_lost()
    await poll.answer()
    assert len(api.node.node.stays) == 0
    conversation = api.node.node.conversations.peek("g/dock")
    assert conversation is not None
    assert not conversation.readers


async def test_a_node_that_stops_lets_nobody_wait(api: Api):
    poll = await waiting(api)
    api.node.node.stays.drain()
    assert await poll.seqs() == []
    late = await api.ask("GET", f"{DOCK}/events?after=1&wait={LONG_S}", robot="r2")
    assert late.json["events"] == []


async def test_a_poll_brings_nobody_online(api: Api):
    poll = await waiting(api)
    answer = await api.ask("GET", "/v1/robots/r2", robot="r1")
    assert answer.json["online"] is False
    api.node.node.stays.drain()
    await poll.answer()
