"""The life of a WebSocket connection: goodbyes from both sides, deadlines, and a full outbound buffer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
from msgspec import Raw
from websockets.frames import Close, Opcode

from imserver.core.server_settings import ServerSettings
from imserver.core.settings import DeliverySettings, Settings
from imserver.protocol import client_frames as frames
from imserver.protocol.errors import CloseCode
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import Bye, Deliver, Pong
from tests.unit.access.node_in_memory import NodeInMemory, running
from tests.unit.access.raw_client import RawClient, frame, message, opened, ping, upgraded
from tests.until import PATIENCE_S


@pytest.fixture
async def node() -> AsyncIterator[NodeInMemory]:
    async with running() as node:
        yield node


# Closing.


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4000])
async def test_a_client_that_says_goodbye_hears_it_back_and_the_transport_closes(
    node: NodeInMemory, code: int
) -> None:
    client = await opened(node)
    client.feed(frame(Opcode.CLOSE, Close(code, "bye").serialize()))
    await client.tick()
    assert client.close_code == code and client.transport.is_closed()
    assert len(node.door) == 0 and len(node.node.sessions) == 0


async def test_frames_before_the_goodbye_in_the_same_piece_are_carried_out(
    node: NodeInMemory,
) -> None:
    client = await opened(node)
    client.feed(
        message(msgpack.packb({"t": "create_group", "id": 1, "name": "a"}))
        + frame(Opcode.CLOSE, Close(1000, "").serialize())
    )
    await client.tick()
    await node.settle()
    assert "g/a" in node.store._logs


async def test_a_close_of_ours_waits_for_the_clients_goodbye(node: NodeInMemory) -> None:
    client = await opened(node)
    client.link.shutdown()
    await client.tick()
    assert isinstance(client.frames[-1], Bye)
    assert client.close_code == CloseCode.DRAINING and not client.transport.is_closed()
    client.feed(frame(Opcode.CLOSE, Close(CloseCode.DRAINING, "").serialize()))
    await client.tick()
    assert client.transport.is_closed() and not client.transport.is_aborted()


async def test_a_client_that_says_no_goodbye_is_cut_off_at_the_deadline(
    node: NodeInMemory,
) -> None:
    client = await opened(node)
    client.link.shutdown()
    node.turn_wheel(4)
    assert not client.transport.is_aborted()
    node.turn_wheel(1)
    assert client.transport.is_aborted()


async def test_a_client_that_takes_nothing_any_more_is_cut_off_at_the_deadline(
    node: NodeInMemory,
) -> None:
    client = await opened(node)
    client.transport.is_stuck = True
    client.feed(frame(Opcode.CLOSE, Close(1000, "").serialize()))
    await client.tick()
    assert client.transport.is_closed() and len(node.door) == 1
    node.turn_wheel(5)
    await client.tick()
    assert client.transport.is_aborted() and len(node.door) == 0


async def test_nothing_follows_the_goodbye(node: NodeInMemory) -> None:
    client = await opened(node)
    client.link.shutdown()
    await client.tick()
    writes = len(client.transport.writes)
    client.link.write(client.link.form.encode(Pong(9, 9)))
    client.feed(message(ping(1)) + frame(Opcode.PING, b"beat"))
    await client.tick()
    assert client.events[-1].opcode is Opcode.CLOSE
    assert len(client.transport.writes) == writes


async def test_a_close_is_said_once(node: NodeInMemory) -> None:
    client = await opened(node)
    client.link.close(CloseCode.POLICY, "one")
    client.link.close(CloseCode.INTERNAL, "two")
    client.link.shutdown()
    await client.tick()
    assert client.close_code == CloseCode.POLICY and len(client.control(Opcode.CLOSE)) == 1


async def test_a_long_reason_is_cut_at_a_letter(node: NodeInMemory) -> None:
    client = await opened(node)
    client.link.close(CloseCode.POLICY, "ä" * 500)
    await client.tick()
    (goodbye,) = client.control(Opcode.CLOSE)
    assert len(goodbye) <= 125 and set(Close.parse(goodbye).reason) == {"ä"}


async def test_a_client_that_is_not_read_from_is_read_again_for_its_goodbye() -> None:
    async with running(Settings(limits=Limits(requests_max=1))) as node:
        client = await opened(node)
        node.store.conversations_read.shut = True
        await client.say(frames.History(1, "g/a"))
        assert not client.transport.reading
        client.link.shutdown()
        reading = client.transport.reading
        assert reading


@pytest.mark.parametrize("code", [None, 1000])
async def test_a_lost_transport_ends_the_session(node: NodeInMemory, code: int | None) -> None:
    client = await opened(node)
    if code is not None:
        client.feed(frame(Opcode.CLOSE, Close(code, "").serialize()))
    client.link.connection_lost(None)
    assert len(node.node.sessions) == 0 and len(node.door) == 0


@pytest.mark.parametrize(
    ("is_sent_away", "code", "how"),
    [
        (False, 1001, "clean"),
        (False, 3000, "lost"),
        (False, None, "lost"),
        (True, 3000, "clean"),
        (True, None, "lost"),
    ],
)
async def test_who_went_with_a_goodbye_or_answered_ours_went_cleanly(
    node: NodeInMemory, is_sent_away: bool, code: int | None, how: str
) -> None:
    closed: list[str] = []
    node.node.sessions.close = lambda session, how: closed.append(how)  # type: ignore[method-assign]
    client = await opened(node)
    if is_sent_away:
        client.link.shutdown()
    if code is not None:
        client.feed(frame(Opcode.CLOSE, Close(code, "").serialize()))
    client.link.connection_lost(None)
    assert closed == [how]


async def test_a_connection_before_its_handshake_is_shut_down_too(node: NodeInMemory) -> None:
    client = RawClient(node.door)
    client.link.shutdown()
    assert client.transport.is_closed()


# Deadlines.


async def test_without_a_handshake_the_connection_is_cut_off(node: NodeInMemory) -> None:
    client = RawClient(node.door)
    node.turn_wheel(9)
    assert not client.transport.is_aborted()
    node.turn_wheel(1)
    assert client.transport.is_aborted()


@pytest.mark.parametrize("first", [[], [frames.Hello("r1")]], ids=["fresh", "challenged"])
async def test_without_hello_the_client_is_told_and_closed(
    node: NodeInMemory, first: list[Any]
) -> None:
    client = await upgraded(node)
    if first:
        await client.say(*first)
    node.turn_wheel(10)
    await client.tick()
    assert isinstance(client.frames[-1], Bye) and client.close_code == CloseCode.HELLO_TIMEOUT


async def test_a_silent_client_is_pinged_and_then_given_up() -> None:
    quick = Settings(server=ServerSettings(hello_timeout_s=2, ping_interval_s=3))
    async with running(quick) as node:
        client = await opened(node)
        node.turn_wheel(2)  # the hello deadline; it has spoken
        node.turn_wheel(3)
        await client.tick()
        assert client.control(Opcode.PING) == [b""]
        assert not client.transport.is_aborted()
        node.turn_wheel(3)
        assert client.transport.is_aborted()


async def test_a_client_that_answers_pings_stays() -> None:
    quick = Settings(server=ServerSettings(hello_timeout_s=2, ping_interval_s=3))
    async with running(quick) as node:
        client = await opened(node)
        for _ in range(10):
            node.turn_wheel(3)
            await client.tick()
            client.feed(frame(Opcode.PONG))
        assert not client.transport.is_closing()


async def test_a_client_that_we_do_not_read_from_is_not_blamed_for_silence() -> None:
    held_back = Settings(
        server=ServerSettings(hello_timeout_s=2, ping_interval_s=3), limits=Limits(requests_max=1)
    )
    async with running(held_back) as node:
        client = await opened(node)
        node.store.conversations_read.shut = True
        await client.say(frames.History(1, "g/a"))
        node.turn_wheel(30)
        assert not client.transport.is_closing()


async def test_a_client_that_takes_nothing_for_two_intervals_is_given_up_and_counted() -> None:
    quick = Settings(server=ServerSettings(hello_timeout_s=2, ping_interval_s=3))
    async with running(quick) as node:
        client = await opened(node)
        client.link.pause_writing()
        node.turn_wheel(9)
        assert client.transport.is_aborted()
        assert node.counted("imserver_connections_closed_slow_total") == 1


# The outbound buffer.


async def test_a_link_is_congested_above_its_high_water_mark_until_it_is_flushed() -> None:
    narrow = Settings(delivery=DeliverySettings(write_buffer_bytes_max=2_000))
    async with running(narrow) as node:
        client = await opened(node)
        assert client.transport.high == 1
        client.link.write(bytes(2_000))
        assert not client.is_congested()
        client.link.write(b"x")
        assert client.is_congested()
        client.link.flush()
        assert not client.is_congested()


async def test_a_link_is_congested_while_its_transport_is(node: NodeInMemory) -> None:
    client = await opened(node)
    client.link.pause_writing()
    assert client.is_congested()
    client.link.resume_writing()
    assert not client.is_congested()


async def test_a_reader_goes_on_when_its_transport_has_room_again(node: NodeInMemory) -> None:
    client = await opened(node)
    await client.say(frames.CreateGroup(1, "a"))
    await node.settle()
    await client.tick()
    sender = await opened(node, robot="r2")
    await client.say(frames.AddMembers(2, "g/a", ["r2"]))
    await node.settle()
    client.link.pause_writing()
    for n in range(3):
        await sender.say(frames.Send(n, "g/a", f"c{n}", Raw(msgpack.packb("hi"))))
    await node.settle()
    await client.tick()
    assert delivered(client)[-1] < 5
    client.link.resume_writing()
    async with asyncio.timeout(PATIENCE_S):
        while len(delivered(client)) < 5:
            await client.tick()
    assert delivered(client) == [1, 2, 3, 4, 5]


def delivered(client: RawClient) -> list[int]:
    return [e.seq for f in client.frames if isinstance(f, Deliver) for e in f.events]


@pytest.mark.parametrize("broken", [b"\x82\x01x", b"\x88\x81\x00\x00\x00\x00x"])
async def test_a_client_that_breaks_the_rfc_is_read_from_until_it_is_gone(
    node: NodeInMemory, broken: bytes
) -> None:
    client = await opened(node)
    client.transport.is_stuck = True
    client.feed(broken)
    for _ in range(3):
        client.feed(message(ping(1)) + broken)  # it has not heard of it yet
    await client.tick()
    assert client.close_code == CloseCode.PROTOCOL_ERROR and client.transport.is_ended()
    assert not client.transport.is_closing()
    node.turn_wheel(6)
    assert client.transport.is_aborted()


async def test_a_full_node_is_empty_when_its_last_link_is_gone(node: NodeInMemory) -> None:
    client = await opened(node)
    node.door.drain()
    empty = asyncio.get_running_loop().create_task(node.door.wait_empty())
    await asyncio.sleep(0)
    assert not empty.done()
    node.door.close_all()
    client.feed(frame(Opcode.CLOSE, Close(1000, "").serialize()))
    await client.tick()
    await empty


async def test_a_client_that_goes_on_and_on_after_our_goodbye_is_not_listened_to(
    node: NodeInMemory,
) -> None:
    client = await opened(node)
    client.link.close(CloseCode.OVERLOADED, "too much")
    client.feed(message(ping(1)) * 10)
    reading = client.transport.reading
    assert reading, "its own goodbye is waited for"
    client.feed(message(ping(1)) * 10_000)
    await client.tick()
    assert not client.transport.reading and not client.transport.is_closing()
    node.turn_wheel(6)
    assert client.transport.is_aborted()
