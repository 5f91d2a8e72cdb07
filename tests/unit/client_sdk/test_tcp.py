"""The transport on raw TCP, against servers that behave and servers that do not."""

import asyncio
import contextlib
import time

import pytest

from client_sdk.tcp import CLOSE_TIMEOUT_S, PING_ID, TcpAddress, TcpConnector, TcpTransport
from client_sdk.transport import TransportClosed
from imserver.protocol.client_frames import Ping
from imserver.protocol.codec import JSON, MSGPACK
from imserver.protocol.length_prefix import Splitter, framed
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import Welcome
from tests.unit.access.recording_transport import RecordingTransport

BOTH = pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
WELCOME = Welcome("s", "r1", "main", 0, "node", Limits(), [])


@contextlib.asynccontextmanager
async def server(handler):
    """A server of bare TCP; yields its address."""

    async def handle(reader, writer):
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    running = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with running:
        yield TcpAddress(*running.sockets[0].getsockname()[:2])


async def connected(address, *, codec=MSGPACK, ping_interval_s=20.0, frame_bytes_max=1_000):
    connector = TcpConnector(address, codec, ping_interval_s=ping_interval_s, tls=None)
    return await connector.connect(frame_bytes_max=frame_bytes_max)


async def frames_of(reader, count):
    """Return the preface and so many frames."""
    preface, splitter, found = await reader.readexactly(4), Splitter(bytes_max=10_000), []
    while len(found) < count:
        found += splitter.feed(await reader.read(1_000))
    return preface, found


@BOTH
async def test_the_preface_comes_first_and_frames_behind_their_lengths(codec):
    async def answer(reader, writer):
        preface, frames = await frames_of(reader, 3)
        writer.write(framed(preface) + b"".join(framed(frame) for frame in frames))
        await reader.read()

    async with server(answer) as address:
        transport = await connected(address, codec=codec)
        transport.send([b"a", b"b" * 500, b"c"])
        received = []
        while len(received) < 4:
            received += await transport.receive()
        assert received == [b"IM1J" if codec is JSON else b"IM1M", b"a", b"b" * 500, b"c"]
        transport.close(1000, "")
        await transport.wait_closed()


async def test_with_deflate_large_frames_go_out_compressed_and_come_back_so():
    transport = TcpTransport(MSGPACK, frame_bytes_max=10_000, ping_interval_s=20.0, deflates=True)
    wire = RecordingTransport(transport)
    transport.connection_made(wire)
    transport.send([b"x" * 5_000, b"small"])
    preface, said = wire.writes
    assert preface == b"IM1m" and len(said) < 200
    assert Splitter(bytes_max=10_000, deflates=True).feed(said) == [b"x" * 5_000, b"small"]
    transport.data_received(said)
    assert await transport.receive() == [b"x" * 5_000, b"small"]
    transport.abort()
    await transport.wait_closed()


async def test_a_close_says_goodbye_and_waits_for_the_server():
    heard = asyncio.get_running_loop().create_future()

    async def note(reader, _writer):
        heard.set_result((await frames_of(reader, 2))[1])

    async with server(note) as address:
        transport = await connected(address)
        transport.send([b"last"])
        transport.close(1000, "")
        transport.send([b"too late"])
        await transport.wait_closed()
        assert await heard == [b"last", b""]


async def test_a_server_that_does_not_close_is_waited_for_for_a_while_only():
    done = asyncio.Event()

    async def ignore(_reader, _writer):
        await done.wait()

    async with server(ignore) as address:
        transport = await connected(address)
        began_s = time.monotonic()
        transport.close(1000, "")
        await transport.wait_closed()
        assert time.monotonic() - began_s >= CLOSE_TIMEOUT_S * 0.9
        done.set()


async def test_messages_before_the_end_come_before_the_end():
    async def leave(_reader, writer):
        writer.write(framed(b"a") + framed(b"b"))

    async with server(leave) as address:
        transport = await connected(address)
        received = []
        while len(received) < 2:
            received += await transport.receive()
        with pytest.raises(TransportClosed) as closed:
            await transport.receive()
        assert received == [b"a", b"b"] and closed.value.code == 1006


async def test_a_frame_over_the_limit_breaks_the_connection():
    async def boast(reader, writer):
        writer.write(framed(b"a") + framed(bytes(1_001)))
        await reader.read()

    async with server(boast) as address:
        transport = await connected(address)
        assert await transport.receive() == [b"a"]
        with pytest.raises(TransportClosed) as closed:
            await transport.receive()
        assert closed.value.code == 1009 and "1001" in closed.value.reason


async def test_nobody_there_is_said_in_words():
    async with server(lambda _reader, _writer: None) as address:
        pass
    with pytest.raises(TransportClosed, match="cannot connect"):
        await connected(address)


@BOTH
async def test_a_silent_robot_says_ping_once_its_session_is_open(codec):
    transport = TcpTransport(codec, frame_bytes_max=1_000, ping_interval_s=20.0)
    wire = RecordingTransport(transport)
    transport.connection_made(wire)
    let_silence_pass(transport)
    assert len(wire.writes) == 1  # the preface
    transport.data_received(framed(codec.encode(WELCOME)))
    let_silence_pass(transport)
    (ping,) = Splitter(bytes_max=100).feed(wire.writes[1])
    assert codec.decode_client(ping) == Ping(PING_ID)
    transport.abort()
    await transport.wait_closed()


def let_silence_pass(transport):
    transport._said_s -= 21.0
    transport._heard_s -= 21.0
    transport._beat()


async def test_a_server_that_answers_no_ping_is_given_up():
    async def welcome(reader, writer):
        writer.write(framed(MSGPACK.encode(WELCOME)))
        await reader.read()

    async with server(welcome) as address:
        transport = await connected(address, ping_interval_s=0.05)
        await transport.receive()
        with pytest.raises(TransportClosed, match="silent"):
            await transport.receive()
