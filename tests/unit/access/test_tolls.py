"""Rates of robots and addresses: not read from, then refused, then closed; and nobody else notices."""

from typing import Any

import msgpack
import pytest
from msgspec import Raw

from imserver.access.tolls import Toll, Tolls
from imserver.core.rate_settings import RateSettings
from imserver.core.settings import Settings
from imserver.protocol import client_frames as frames
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.server_frames import Bye, Error, Pong
from imserver.protocol.session_states import SessionState
from tests.unit.access.node_in_memory import NodeInMemory, running
from tests.unit.access.recording_link import Client
from tests.unit.logic.hand_clock import HandClock


def slow(**settings: Any) -> Settings:
    """Eight frames a second, eight at once; a pause lasts a second at most."""
    given = {"robot_frames_per_s": 8.0, "burst_s": 1.0, "pause_s_max": 1.0, "refusals_max": 50}
    return Settings(rates=RateSettings(**given | settings))


async def opened(node: NodeInMemory, robot: str = "r1", device: str = "main") -> Client:
    client = Client(node.context)
    client.say(frames.Hello(robot, device, token=node.bearer_token(robot)))
    await node.settle()
    assert client.connection.state is SessionState.OPEN, client.frames
    return client


def release(node: NodeInMemory, client: Client, *, after_s: float) -> None:
    """Let time pass for a client that is held; its timer runs by the loop's clock and comes too late."""
    node.clock.s += after_s
    client.connection._release()


def ping(client: Client, count: int) -> None:
    client.say(*(frames.Ping(number) for number in range(count)))


async def test_within_its_rate_a_robot_is_read_from() -> None:
    async with running(slow()) as node:
        client = await opened(node)
        for _ in range(30):
            ping(client, 1)
            node.clock.s += 0.125
        assert client.is_read()
        assert len(client.of(Pong)) == 30


async def test_beyond_its_rate_it_is_not_read_from_until_it_is_within_again() -> None:
    async with running(slow()) as node:
        client = await opened(node)
        ping(client, 12)
        assert not client.is_read()
        assert len(client.of(Pong)) == 12, "what came is answered all the same"
        release(node, client, after_s=0.4)
        assert not client.is_read()
        release(node, client, after_s=0.11)
        assert client.is_read()
        assert node.counted("imserver_connections_held_for_rate_total") == 2


async def test_what_would_have_to_wait_for_longer_than_a_pause_is_refused_with_the_time() -> None:
    async with running(slow()) as node:
        client = await opened(node)
        ping(client, 30)
        assert len(client.of(Pong)) == 17, "a burst, a pause's worth, and the one that went over"
        refused = client.of(Error)
        assert {error.code for error in refused} == {ErrorCode.RATE_LIMITED}
        assert [error.id for error in refused] == list(range(17, 30))
        wait_ms = refused[0].retry_after
        assert wait_ms == 1_125
        assert not any(error.fatal for error in refused)
        release(node, client, after_s=wait_ms / 1_000)
        assert client.is_read()
        ping(client, 1)
        assert len(client.of(Pong)) == 18


async def test_who_goes_on_and_on_is_closed_and_told_when_to_come() -> None:
    async with running(slow()) as node:
        client = await opened(node)
        ping(client, 17 + 50)
        assert client.connection.state is SessionState.OPEN
        ping(client, 1)
        assert client.link.closes == [CloseCode.OVERLOADED]
        assert client.of(Bye)[0].retry_after == 1_125


async def test_who_waits_is_forgiven_what_was_refused() -> None:
    async with running(slow()) as node:
        client = await opened(node)
        for _ in range(5):
            ping(client, 17 + 30)
            node.clock.s += 10.0
            ping(client, 1)
        assert client.connection.state is SessionState.OPEN


async def test_all_connections_of_a_robot_share_its_rate() -> None:
    async with running(slow()) as node:
        one, other = await opened(node, "r1", "arm"), await opened(node, "r1", "leg")
        ping(one, 8)
        assert one.is_read()
        ping(other, 1)
        assert not other.is_read()


async def test_coming_again_does_not_pay_what_is_owed() -> None:
    async with running(slow()) as node:
        client = await opened(node)
        ping(client, 16)
        client.connection.on_lost(clean=True)
        again = await opened(node)
        ping(again, 2)
        assert again.last_error.code is ErrorCode.RATE_LIMITED


async def test_another_robot_does_not_notice() -> None:
    async with running(slow()) as node:
        flooder, honest = await opened(node, "r1"), await opened(node, "r2")
        ping(flooder, 40)
        ping(honest, 8)
        assert honest.is_read()
        assert len(honest.of(Pong)) == 8


async def test_an_address_has_a_rate_of_its_own_over_all_its_robots() -> None:
    async with running(slow(robot_frames_per_s=0.0, address_frames_per_s=10.0)) as node:
        one, other = await opened(node, "r1"), await opened(node, "r2")
        far = await opened(node, "r3")
        far.connection._toll._address = "198.51.100.7"
        ping(one, 10)
        ping(other, 1)
        ping(far, 7)
        assert not other.is_read()
        assert far.is_read()


async def test_bytes_have_a_rate_too() -> None:
    async with running(slow(robot_frames_per_s=0.0, robot_bytes_per_s=1_000.0)) as node:
        client = await opened(node)
        client.say(frames.Signal("g/a", "k", Raw(msgpack.packb(bytes(1_500)))))
        assert not client.is_read()
        release(node, client, after_s=0.8)
        assert client.is_read()


async def test_acks_are_counted_and_never_refused() -> None:
    async with running(slow()) as node:
        client = await opened(node)
        client.say(*(frames.Ack("g/none", 0) for _ in range(200)))
        await node.settle()
        assert {error.code for error in client.of(Error)} == {ErrorCode.NOT_FOUND}
        assert not client.is_read()
        assert client.connection.state is SessionState.OPEN


async def test_acks_have_their_robot_wait_for_a_pause_at_most() -> None:
    async with running(slow()) as node:
        reader, other = await opened(node, "r1", "arm"), await opened(node, "r1", "leg")
        reader.say(*(frames.Ack("g/none", 0) for _ in range(200)))
        node.clock.s += 1.25
        ping(other, 1)
        assert len(other.of(Pong)) == 1


async def test_nobody_is_refused_on_the_way_in() -> None:
    async with running(slow(address_frames_per_s=1.0)) as node:
        for number in range(20):
            await opened(node, f"r{number}")


async def come_with(node: NodeInMemory, pings: int) -> Client:
    """Return a client that said so much in one go with its hello."""
    client = Client(node.context)
    hello = frames.Hello("r1", token=node.bearer_token("r1"))
    client.say(hello, *map(frames.Ping, range(pings)))
    await node.settle()
    return client


async def test_what_comes_behind_a_hello_counts_for_its_robot() -> None:
    async with running(slow()) as node:
        client = await come_with(node, 40)
        taken, refused = client.of(Pong), client.of(Error)
        assert 8 <= len(taken) <= 17, "what it may send at once, and what a pause makes up for"
        assert {error.code for error in refused} == {ErrorCode.RATE_LIMITED}
        assert [answer.id for answer in taken] + [error.id for error in refused] == list(range(40))
        assert not client.is_read()


async def test_who_brings_far_too_much_behind_its_hello_is_closed() -> None:
    async with running(slow()) as node:
        client = await come_with(node, 200)
        assert client.link.closes == [CloseCode.OVERLOADED]
        assert not client.of(Pong)


async def test_frames_that_are_no_messages_count() -> None:
    async with running(slow()) as node:
        client = await opened(node)
        client.connection.on_other_frames(15)
        assert not client.is_read()


async def test_frames_that_are_no_messages_have_their_robot_wait_for_a_pause_at_most() -> None:
    async with running(slow()) as node:
        flooder, other = await opened(node, "r1", "arm"), await opened(node, "r1", "leg")
        flooder.connection.on_other_frames(50)
        assert not flooder.is_read()
        node.clock.s += 1.0
        ping(other, 1)
        assert len(other.of(Pong)) == 1


async def test_frames_that_are_no_messages_have_their_address_wait_for_a_pause_at_most() -> None:
    limits = {"robot_frames_per_s": 0.0, "address_frames_per_s": 8.0}
    async with running(slow(**limits)) as node:
        flooder, neighbour = await opened(node, "r1"), await opened(node, "r2")
        flooder.connection.on_other_frames(50)
        node.clock.s += 1.0
        ping(neighbour, 1)
        assert len(neighbour.of(Pong)) == 1


async def test_who_goes_on_and_on_with_frames_that_are_no_messages_is_closed() -> None:
    async with running(slow()) as node:
        client = await opened(node)
        client.connection.on_other_frames(16)
        client.connection.on_other_frames(50)
        assert client.connection.state is SessionState.OPEN
        client.connection.on_other_frames(1)
        assert client.link.closes == [CloseCode.OVERLOADED]
        assert client.of(Bye)[0].retry_after == 1_000


async def test_fragments_that_wait_are_forgiven_as_messages_are() -> None:
    async with running(slow()) as node:
        client = await opened(node)
        for _ in range(5):
            client.connection.on_other_frames(40)
            node.clock.s += 10.0
            client.connection.on_other_frames(1)
        assert client.connection.state is SessionState.OPEN


async def test_without_limits_nothing_is_ever_charged() -> None:
    tolls = Tolls(
        RateSettings(
            robot_frames_per_s=0, robot_bytes_per_s=0, address_frames_per_s=0, address_bytes_per_s=0
        ),
        HandClock(),
        metrics=None,  # type: ignore[arg-type]
    )
    toll = Toll(tolls, "192.0.2.1")
    assert min(toll.frames_left, toll.bytes_left) > 2**60


@pytest.mark.parametrize("rate", [1.0, 49.0, 1_000.0, 50_000.0, 1e9])
async def test_a_share_is_a_small_part_of_a_second(rate: float) -> None:
    async with running(slow(robot_frames_per_s=rate)) as node:
        assert 0 <= node.context.tolls.share_frames <= rate / 100
