"""The raw TCP transport: prefaces, frames, goodbyes, deadlines, and what strangers are told."""

import socket
from collections.abc import AsyncIterator

import pytest

from imserver.access.door import VISITORS_RESERVE
from imserver.access.tcp_listener import _keep_alive
from imserver.core.server_settings import ServerSettings
from imserver.core.settings import AccessSettings, Settings
from imserver.protocol import client_frames as frames
from imserver.protocol.codec import JSON, MSGPACK, Codec
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.length_prefix import GOODBYE, framed
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import Bye, Error, Ok, Pong
from tests.unit.access.node_in_memory import NodeInMemory, running
from tests.unit.access.tcp_client import TcpClient, greeted, opened

SHORT = Settings(server=ServerSettings(hello_timeout_s=2, ping_interval_s=3))
BOTH = pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])


@pytest.fixture
async def node() -> AsyncIterator[NodeInMemory]:
    async with running(SHORT) as node:
        yield node


def byes(client: TcpClient) -> list[int]:
    return [bye.code for bye in client.of(Bye)]


# Prefaces and frames.


@BOTH
async def test_a_session_is_opened_and_answers_in_the_codec_of_the_preface(
    node: NodeInMemory, codec: Codec
) -> None:
    client = await opened(node, codec)
    await client.say(frames.Ping(7))
    assert [pong.id for pong in client.of(Pong)] == [7]


@BOTH
async def test_everything_may_come_in_one_piece(node: NodeInMemory, codec: Codec) -> None:
    client = TcpClient(node.door, codec)
    said = [node.hello(), frames.Ping(1), frames.Ping(2)]
    stream = b"".join(framed(codec.encode(frame)) for frame in said)
    await client.feed(client.preface + stream)
    assert [pong.id for pong in client.of(Pong)] == [1, 2]


async def test_everything_may_come_byte_by_byte(node: NodeInMemory) -> None:
    client = TcpClient(node.door)
    for byte in b"IM1M" + framed(MSGPACK.encode(node.hello())):
        await client.feed(bytes([byte]))
    await client.say(frames.Ping(1))
    assert len(client.of(Pong)) == 1


async def test_a_frame_of_the_limit_is_taken_and_one_byte_more_ends_the_connection() -> None:
    limits = Limits(body_bytes_max=512, frame_bytes_max=1_024)
    async with running(Settings(limits=limits)) as node:
        client = await opened(node, JSON)
        ping = JSON.encode(frames.Ping(1))
        await client.feed(framed(ping.ljust(1_024)))
        assert len(client.of(Pong)) == 1
        await client.feed(framed(ping.ljust(1_025)))
        assert client.of(Error)[-1].code is ErrorCode.TOO_LARGE and client.of(Error)[-1].fatal
        assert byes(client) == [CloseCode.TOO_BIG] and client.is_over()
        assert len(client.of(Pong)) == 1


@pytest.mark.parametrize("head", [b"\xff\xff\xff\xff", b"\x80\x00\x00\x00", b"\x7f\xff\xff\xff"])
async def test_a_huge_length_is_refused_before_anything_follows_it(
    node: NodeInMemory, head: bytes
) -> None:
    client = await opened(node)
    await client.feed(head)
    error = client.of(Error)[-1]
    assert error.code is ErrorCode.TOO_LARGE and str(int.from_bytes(head)) in error.message
    assert client.is_over()


async def test_frames_before_one_that_is_too_large_are_carried_out(node: NodeInMemory) -> None:
    client = await opened(node)
    await client.feed(framed(MSGPACK.encode(frames.Ping(1))) + b"\xff" * 400)
    assert len(client.of(Pong)) == 1 and byes(client) == [CloseCode.TOO_BIG]


async def test_nothing_is_taken_after_a_goodbye_of_ours(node: NodeInMemory) -> None:
    client = await opened(node)
    client.link.shutdown()
    await client.say(frames.Ping(1))
    assert not client.of(Pong)


async def test_text_that_is_no_utf8_is_an_offence(node: NodeInMemory) -> None:
    client = await opened(node, JSON)
    await client.feed(framed(b'{"t":"ping","id":1,"x":"\xff"}'))
    assert client.of(Error)[-1].code is ErrorCode.BAD_FRAME
    assert "UTF-8" in client.of(Error)[-1].message


async def test_too_many_offences_end_with_an_error_and_a_bye(node: NodeInMemory) -> None:
    client = await opened(node)
    await client.feed(framed(b"\xc1") * 3)
    assert [error.fatal for error in client.of(Error)] == [False, False, True]
    assert byes(client) == [CloseCode.POLICY] and client.is_over()


async def test_all_readers_of_a_codec_share_one_form(node: NodeInMemory) -> None:
    one, other = await opened(node, robot="r1"), await opened(node, robot="r2")
    assert one.link.form is other.link.form is not (await opened(node, JSON)).link.form


# The end of a connection.


async def test_a_goodbye_of_the_clients_closes_and_counts_as_leaving(node: NodeInMemory) -> None:
    client = await opened(node)
    await client.feed(GOODBYE)
    assert client.transport.is_closed() and len(node.node.sessions) == 0 and len(node.door) == 0


@pytest.mark.parametrize(("goodbye", "how"), [(GOODBYE, "clean"), (b"", "lost")])
async def test_an_end_without_a_goodbye_counts_as_a_loss(
    node: NodeInMemory, goodbye: bytes, how: str
) -> None:
    closed: list[str] = []
    node.node.sessions.close = lambda session, how: closed.append(how)  # type: ignore[method-assign]
    client = await opened(node)
    await client.feed(goodbye)
    await client.end()
    assert closed == [how]


@pytest.mark.parametrize(
    ("turns", "exc", "how"),
    [(1, None, "clean"), (1, ConnectionResetError(), "lost"), (5, None, "lost")],
    ids=["ends too", "breaks", "says nothing"],
)
async def test_who_ends_the_connection_when_we_said_bye_went_cleanly(
    node: NodeInMemory, turns: int, exc: Exception | None, how: str
) -> None:
    closed: list[str] = []
    node.node.sessions.close = lambda session, how: closed.append(how)  # type: ignore[method-assign]
    client = await opened(node)
    client.link.shutdown()
    node.turn_wheel(turns)
    client.link.connection_lost(exc)
    assert closed == [how]


async def test_who_ends_its_half_still_gets_its_answers(node: NodeInMemory) -> None:
    client = await opened(node)
    node.store.commits.shut = True
    await client.say(frames.CreateGroup(1, "dock"))
    await client.end()
    assert not client.transport.is_closed()
    node.store.open_all()
    await node.settle()
    await client.tick()
    assert [ok.id for ok in client.of(Ok)] == [1] and client.transport.is_closed()


async def test_who_ends_its_half_is_not_waited_for_for_ever(node: NodeInMemory) -> None:
    client = await opened(node)
    node.store.commits.shut = True
    await client.say(frames.CreateGroup(1, "dock"))
    await client.feed(GOODBYE)
    node.turn_wheel(4)
    assert not client.transport.is_closed()
    node.turn_wheel(1)
    assert client.transport.is_closed()


async def test_an_end_within_a_frame_is_said_to_be_one(node: NodeInMemory) -> None:
    client = await opened(node)
    await client.feed(framed(b"\x81\xa1t\xa4ping")[:-1])
    await client.end()
    error = client.of(Error)[-1]
    assert error.code is ErrorCode.BAD_FRAME and "within a frame" in error.message
    assert client.is_over()


async def test_a_close_of_ours_goes_on_reading_so_that_the_client_gets_to_hear_it(
    node: NodeInMemory,
) -> None:
    client = await opened(node)
    client.transport.is_stuck = True
    client.link.shutdown()
    await client.tick()
    (bye,) = client.of(Bye)
    assert (bye.code, bye.retry_after) == (CloseCode.DRAINING, 1_000)
    assert client.transport.is_ended() and not client.transport.is_closed()
    node.turn_wheel(5)
    assert client.transport.is_aborted()


# Deadlines.


@pytest.mark.parametrize("said", [b"", b"I", b"IM1"])
async def test_a_stranger_without_a_preface_is_closed_at_the_deadline(
    node: NodeInMemory, said: bytes
) -> None:
    client = TcpClient(node.door)
    await client.feed(said)
    node.turn_wheel(1)
    assert not client.transport.is_closed()
    node.turn_wheel(1)
    assert client.transport.is_closed()


async def test_a_stranger_that_dribbles_gains_no_time(node: NodeInMemory) -> None:
    client = TcpClient(node.door)
    for byte in b"IM":
        await client.feed(bytes([byte]))
        node.turn_wheel(1)
    assert client.transport.is_closed()


async def test_no_hello_in_time_is_told(node: NodeInMemory) -> None:
    client = await greeted(node)
    node.turn_wheel(2)
    await client.tick()
    assert byes(client) == [CloseCode.HELLO_TIMEOUT] and client.is_over()


async def test_a_client_that_says_nothing_for_two_intervals_is_told_to_come_back(
    node: NodeInMemory,
) -> None:
    client = await opened(node)
    node.turn_wheel(2)  # the deadline for `hello` turns into the first interval
    node.turn_wheel(3)
    await client.tick()
    assert not byes(client)
    node.turn_wheel(3)
    await client.tick()
    assert byes(client) == [CloseCode.IDLE] and "`ping`" in client.of(Bye)[0].reason


async def test_a_ping_in_each_interval_keeps_a_connection(node: NodeInMemory) -> None:
    client = await opened(node)
    for number in range(10):
        node.turn_wheel(3)
        await client.say(frames.Ping(number))
    assert not byes(client) and len(client.of(Pong)) == 10


async def test_a_client_that_takes_nothing_and_says_nothing_is_cut_off(node: NodeInMemory) -> None:
    client = await opened(node)
    client.link.pause_writing()
    node.turn_wheel(8)
    assert client.transport.is_aborted()
    assert node.counted("imserver_connections_closed_slow_total") == 1


# Strangers and caps.


async def test_http_is_answered_in_http(node: NodeInMemory) -> None:
    client = TcpClient(node.door)
    client.link.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.bytes_written.startswith(b"HTTP/1.1 400 ")
    assert b"IM1M" in client.bytes_written and client.is_over()


async def test_a_tls_hello_is_answered_with_an_alert(node: NodeInMemory) -> None:
    client = TcpClient(node.door)
    client.link.data_received(bytes.fromhex("1603010200010001fc0303"))
    assert client.bytes_written == bytes.fromhex("15030100020228") and client.is_over()


@pytest.mark.parametrize("said", [b"IM2M", b"im1m", b"\x00\x00\x00\x01", bytes(400), b"EHLO x\r\n"])
async def test_other_strangers_are_told_the_prefaces(node: NodeInMemory, said: bytes) -> None:
    client = TcpClient(node.door, JSON)
    await client.feed(said)
    (error,) = client.of(Error)
    assert error.code is ErrorCode.UNSUPPORTED and "IM1J" in error.message
    assert byes(client) == [CloseCode.PROTOCOL_ERROR] and client.is_over()


async def test_one_connection_too_many_is_told_when_to_come() -> None:
    settings = Settings(access=AccessSettings(connections_max=1))
    async with running(settings) as node:
        await opened(node)
        client = await greeted(node)
        (bye,) = client.of(Bye)
        assert bye.code == CloseCode.OVERLOADED and (bye.retry_after or 0) >= 1_000
        assert client.is_over()


async def test_strangers_count_against_the_caps() -> None:
    settings = Settings(access=AccessSettings(connections_per_address_max=1))
    async with running(settings) as node:
        strangers = [TcpClient(node.door) for _ in range(VISITORS_RESERVE + 2)]
        await strangers[-1].tick()
        assert [c.transport.is_closed() for c in strangers[-2:]] == [False, True]


async def test_a_draining_node_says_so_and_lets_strangers_go(node: NodeInMemory) -> None:
    stranger = TcpClient(node.door)
    node.door.drain()
    client = await greeted(node)
    assert byes(client) == [CloseCode.DRAINING]
    node.turn_wheel(1)
    assert stranger.transport.is_closed()


def test_connections_are_kept_alive_by_the_system() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        _keep_alive(listening, 25)
        with socket.create_connection(listening.getsockname()[:2]):
            accepted, _ = listening.accept()
            with accepted:
                options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                tcp = [accepted.getsockopt(socket.IPPROTO_TCP, option) for option in options]
                assert tcp == [25, 8, 3]
