"""Many frames in one read: whoever sends them has its turn, and so has everybody else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from websockets.frames import Close, Opcode

from imserver.access.tolls import FRAMES_AT_ONCE
from imserver.core.rate_settings import RateSettings
from imserver.core.settings import Settings
from imserver.protocol import client_frames as frames
from imserver.protocol.codec import MSGPACK
from imserver.protocol.length_prefix import framed
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import Pong
from tests.unit.access import raw_client, tcp_client
from tests.unit.access.node_in_memory import NodeInMemory, running
from tests.unit.access.raw_client import RawClient, message
from tests.unit.access.recording_link import Client
from tests.unit.access.tcp_client import TcpClient

MANY = 20_000
"""So many pings take far longer than a turn."""

PINGS = [MSGPACK.encode(frames.Ping(number)) for number in range(MANY)]


@pytest.fixture
async def node() -> AsyncIterator[NodeInMemory]:
    unlimited = RateSettings(robot_frames_per_s=0, address_frames_per_s=0)
    async with running(Settings(rates=unlimited)) as node:
        yield node


async def flooded(node: NodeInMemory, door: str, *, count: int = MANY) -> RawClient | TcpClient:
    """Return a client whose pings came in one read, the first turn of which is over."""
    pings = PINGS[:count]
    if door == "tcp":
        client = await tcp_client.opened(node)
        client.link.data_received(b"".join(map(framed, pings)))
        return client
    raw = await raw_client.opened(node)
    raw.feed(b"".join(map(message, pings)))
    return raw


def answered(client: RawClient | TcpClient) -> list[int]:
    """Return the numbers of the answers that came."""
    if isinstance(client, RawClient):
        return raw_client.pongs(client)
    return [pong.id for pong in client.of(Pong)]


async def done(client: RawClient | TcpClient) -> list[int]:
    """Let the loop turn until all pings are answered; return the numbers of the answers."""
    for _ in range(MANY):
        await client.tick()
        if len(answered(client)) >= MANY:
            break
    return answered(client)


@pytest.mark.parametrize("door", ["websocket", "tcp"])
async def test_others_are_answered_while_one_has_much_to_say(node: NodeInMemory, door: str) -> None:
    other = await raw_client.opened(node, robot="r2")
    client = await flooded(node, door)
    assert not client.transport.reading, "what waits here does not grow"
    await other.say(frames.Ping(7))
    assert answered(other) == [7]
    await client.tick()
    assert len(answered(client)) < MANY
    assert await done(client) == list(range(MANY))
    assert client.transport.reading


async def test_what_comes_meanwhile_goes_behind_it(node: NodeInMemory) -> None:
    client = await flooded(node, "websocket")
    assert isinstance(client, RawClient)
    client.feed(message(raw_client.ping(MANY)))
    await done(client)
    await client.tick()
    assert answered(client) == list(range(MANY + 1))


async def test_pings_of_the_transport_take_turns_too(node: NodeInMemory) -> None:
    client = await raw_client.opened(node)
    client.feed(raw_client.frame(Opcode.PING, b"x") * MANY)
    has_waited = False
    for _ in range(MANY):
        await client.tick()
        if client.transport.reading:
            break
        has_waited = True
    assert has_waited
    assert len(client.control(Opcode.PONG)) == MANY


@pytest.mark.parametrize("door", ["websocket", "tcp"])
async def test_a_server_that_stops_says_goodbye_in_the_middle(
    node: NodeInMemory, door: str
) -> None:
    client = await flooded(node, door)
    client.link.shutdown()
    for _ in range(MANY):
        await client.tick()
        if client.transport.is_closed() or client.transport.is_ended():
            break
        if isinstance(client, RawClient) and client.transport.reading:
            client.feed(raw_client.frame(Opcode.CLOSE, Close(1000, "").serialize()))
    assert client.transport.is_closed() or client.transport.is_ended()
    assert len(answered(client)) < MANY


@pytest.mark.parametrize("door", ["websocket", "tcp"])
async def test_a_client_that_goes_in_the_middle_is_gone(node: NodeInMemory, door: str) -> None:
    client = await flooded(node, door)
    client.transport.abort()
    for _ in range(16):
        await client.tick()
    assert len(node.node.sessions) == 0 and len(node.door) == 0


@pytest.mark.parametrize("door", ["websocket", "tcp"])
async def test_a_burst_that_is_allowed_is_taken_in_little_by_little(door: str) -> None:
    saved_up = RateSettings(robot_frames_per_s=1, burst_s=1_000)
    async with running(Settings(rates=saved_up)) as node:
        client = await flooded(node, door, count=4 * FRAMES_AT_ONCE)
        for _ in range(100):
            await client.tick()
        first = answered(client)
        assert first == list(range(len(first))) and len(first) <= FRAMES_AT_ONCE + 1
        assert not client.transport.reading
        await rested(node, client)
        assert len(first) < len(answered(client)) < 4 * FRAMES_AT_ONCE
        for _ in range(4):
            await rested(node, client)
        assert answered(client) == list(range(4 * FRAMES_AT_ONCE))


@pytest.mark.parametrize("door", ["websocket", "tcp"])
async def test_what_is_here_is_taken_in_before_more_is_read(
    door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_up = RateSettings(robot_frames_per_s=1, burst_s=1_000)
    async with running(Settings(rates=saved_up)) as node:
        client = await flooded(node, door, count=4 * FRAMES_AT_ONCE)
        read_on_at: list[int] = []
        read_on = client.transport.resume_reading

        def noted() -> None:
            read_on_at.append(len(answered(client)))
            read_on()

        monkeypatch.setattr(client.transport, "resume_reading", noted)
        while not read_on_at:
            await rested(node, client)
        await client.tick()
        assert read_on_at[0] >= 3 * FRAMES_AT_ONCE, (
            "all but the last bunch, whose answers are on their way"
        )


async def test_nothing_is_waited_for_after_the_goodbye() -> None:
    saved_up = RateSettings(robot_frames_per_s=1, burst_s=1_000)
    async with running(Settings(rates=saved_up)) as node:
        client = await raw_client.opened(node)
        goodbye = raw_client.frame(Opcode.CLOSE, Close(1000, "").serialize())
        client.feed(b"".join(map(message, PINGS[: 4 * FRAMES_AT_ONCE])) + goodbye)
        await client.tick()
        assert answered(client)
        client.link.shutdown()
        for _ in range(16):
            await client.tick()
        assert client.transport.is_closed()
        assert len(answered(client)) <= FRAMES_AT_ONCE + 1


async def rested(node: NodeInMemory, client: RawClient | TcpClient) -> None:
    """Let the time pass that a client has to wait; timers run by the loop's clock and come too late."""
    connection = client.link._connection
    assert connection is not None
    node.clock.s += connection.rest_s
    if isinstance(client, RawClient):
        client.link._take_held()
    connection._release()
    await client.tick()


async def test_what_waited_for_the_store_takes_turns_too() -> None:
    limits = Limits(requests_max=2 * MANY)
    async with running(Settings(limits=limits)) as node:
        client, other = Client(node.context), Client(node.context)
        for each, robot in ((client, "r1"), (other, "r2")):
            each.say(frames.Hello(robot, token=node.bearer_token(robot)))
        await node.settle()
        node.store.conversations_read.shut = True
        client.say(frames.History(MANY, "g/a"), *map(frames.Ping, range(MANY)))
        await node.settle()
        assert not client.of(Pong)
        node.store.conversations_read.shut = False
        node.store.open_all()
        while not client.of(Pong):
            await asyncio.sleep(0)
        assert len(client.of(Pong)) < MANY
        other.say(frames.Ping(7))
        assert other.of(Pong)
        client.say(frames.Ping(MANY))
        while len(client.of(Pong)) <= MANY:
            await asyncio.sleep(0)
        assert [pong.id for pong in client.of(Pong)] == list(range(MANY + 1))
