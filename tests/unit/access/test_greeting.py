"""From hello to the session: who waits for whom."""

from collections.abc import AsyncIterator

import pytest

from imserver.access.admission import OPENINGS_AT_ONCE, OPENINGS_WAITING_MAX
from imserver.protocol import client_frames as frames
from imserver.protocol.server_frames import Deliver, Welcome
from tests.unit.access.node_in_memory import NodeInMemory, running
from tests.unit.access.raw_client import RawClient, opened, upgraded

MANY = OPENINGS_AT_ONCE + OPENINGS_WAITING_MAX + 8


@pytest.fixture
async def node() -> AsyncIterator[NodeInMemory]:
    async with running() as node:
        yield node


def is_welcome(client: RawClient) -> bool:
    return any(isinstance(frame, Welcome) for frame in client.frames)


async def until_told(client: RawClient, kind: type) -> None:
    while not any(isinstance(frame, kind) for frame in client.frames):
        await client.tick()


async def test_robots_whose_acks_wait_for_a_hanging_disk_keep_nobody_else_from_coming(
    node: NodeInMemory,
) -> None:
    clients = [await opened(node, robot=f"r{number}") for number in range(MANY)]
    for number, client in enumerate(clients):
        await client.say(frames.CreateGroup(1, f"g{number}"))
        await until_told(client, Deliver)
    node.store.commits.shut = True
    for number, client in enumerate(clients):
        await client.say(frames.Ack(f"g/g{number}", 1))
    held = [await upgraded(node) for _ in range(MANY)]
    for number, client in enumerate(held):
        await client.say(node.hello(f"r{number}"))
    await node.settle()
    assert not any(is_welcome(client) for client in held), "their acks are not stored yet"
    other = await upgraded(node)
    await other.say(node.hello("someone-else"))
    await until_told(other, Welcome)
    node.store.commits.open()
    for client in held:
        await until_told(client, Welcome)


async def test_a_robot_that_comes_back_begins_where_its_last_ack_was(node: NodeInMemory) -> None:
    client = await opened(node)
    await client.say(frames.CreateGroup(1, "a"))
    await until_told(client, Deliver)
    await client.say(frames.Ack("g/a", 1))
    back = await opened(node)
    (welcome,) = (frame for frame in back.frames if isinstance(frame, Welcome))
    assert [(state.conv, state.acked) for state in welcome.conversations] == [("g/a", 1)]
