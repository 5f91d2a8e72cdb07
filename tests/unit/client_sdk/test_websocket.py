"""The transport on real sockets, against servers that behave and servers that do not."""

import asyncio
import contextlib
import gc
import logging

import pytest
from websockets.asyncio.server import serve
from websockets.client import ClientProtocol
from websockets.protocol import State as WebSocketState
from websockets.typing import Subprotocol
from websockets.uri import parse_uri
from websockets.utils import accept_key

from client_sdk import Options, Robot
from client_sdk.options import websocket_url
from client_sdk.transport import TransportClosed
from client_sdk.websocket import WebSocketConnector, WebSocketTransport
from imserver.protocol.codec import JSON, MSGPACK
from imserver.protocol.errors import CloseCode
from tests.until import until

LONG_S = 3_600.0


@contextlib.asynccontextmanager
async def server(handler, *, codec=MSGPACK):
    async with serve(
        handler, "127.0.0.1", 0, subprotocols=[Subprotocol(codec.name)], compression=None
    ) as running:
        yield f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}"


@contextlib.asynccontextmanager
async def sockets(handler):
    """A server of bare TCP."""
    running = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with running:
        yield f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}"


def connector(address, *, codec=MSGPACK, ping_interval_s=20.0):
    url = websocket_url(address)
    return WebSocketConnector(url, codec, ping_interval_s=ping_interval_s, tls=None)


async def echo(websocket):
    async for message in websocket:
        await websocket.send(message)


async def receive(transport, count):
    messages = []
    while len(messages) < count:
        messages += await transport.receive()
    return messages


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
async def test_messages_go_out_and_come_back_in_order(codec):
    async with server(echo, codec=codec) as address:
        transport = await connector(address, codec=codec).connect(frame_bytes_max=1000)
        sent = [f"m{n}".encode() for n in range(300)]
        transport.send(sent)
        assert await receive(transport, 300) == sent
        transport.close(1000, "")
        await transport.wait_closed()


async def test_a_message_in_fragments_arrives_whole():
    async def fragments(websocket):
        await websocket.send([b"one ", b"two ", b"three"])
        await websocket.wait_closed()

    async with server(fragments) as address:
        transport = await connector(address).connect(frame_bytes_max=1000)
        assert await transport.receive() == [b"one two three"]
        transport.close(1000, "")
        await transport.wait_closed()


async def test_a_close_tells_its_code_and_reason_after_the_last_message():
    async def leave(websocket):
        await websocket.send(b"last")
        await websocket.close(4100, "draining")

    async with server(leave) as address:
        transport = await connector(address).connect(frame_bytes_max=1000)
        assert await transport.receive() == [b"last"]
        with pytest.raises(TransportClosed) as caught:
            await transport.receive()
    assert (caught.value.code, caught.value.reason) == (4100, "draining")


async def test_a_message_over_the_limit_breaks_the_connection():
    async def shout(websocket):
        await websocket.send(b"x" * 1001)
        await websocket.wait_closed()

    async with server(shout) as address:
        transport = await connector(address).connect(frame_bytes_max=1000)
        with pytest.raises(TransportClosed):
            await transport.receive()


async def test_writing_after_the_close_is_harmless():
    async with server(echo) as address:
        transport = await connector(address).connect(frame_bytes_max=1000)
        transport.close(1000, "")
        transport.send([b"late"])
        transport.close(1000, "")
        await transport.wait_closed()


async def test_a_server_that_falls_silent_is_given_up():
    async def swallow(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        key = next(
            line.split(b": ")[1]
            for line in request.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key")
        )
        writer.write(_accept(key.decode()))
        await reader.read()
        writer.close()

    async with sockets(swallow) as address:
        transport = await connector(address, ping_interval_s=0.05).connect(frame_bytes_max=1000)
        with pytest.raises(TransportClosed, match="silent"):
            await transport.receive()
        await transport.wait_closed()


def _accept(key):
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Protocol: {MSGPACK.name}\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
    ).encode()


async def test_the_most_talkative_log_shows_no_message(caplog):
    caplog.set_level(logging.DEBUG, "client_sdk")
    caplog.set_level(logging.DEBUG, "websockets.client")
    async with server(echo) as address:
        transport = await connector(address).connect(frame_bytes_max=1000)
        transport.send([b"geheim"])
        await transport.receive()
        transport.close(1000, "")
        await transport.wait_closed()
    assert "geheim" not in caplog.text


async def test_a_quiet_but_living_server_is_kept():
    async def quiet(websocket):
        await asyncio.sleep(0.4)  # the silence itself is what is tested
        await websocket.send(b"still here")
        await websocket.wait_closed()

    async with server(quiet) as address:
        transport = await connector(address, ping_interval_s=0.05).connect(frame_bytes_max=1000)
        assert await transport.receive() == [b"still here"]
        transport.close(1000, "")
        await transport.wait_closed()


async def test_nobody_at_the_address_is_a_clear_error():
    async with server(echo) as address:
        pass
    with pytest.raises(TransportClosed, match="cannot connect to"):
        await connector(address).connect(frame_bytes_max=1000)


async def test_something_else_at_the_address_is_a_clear_error():
    async def page(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with sockets(page) as address:
        robot = Robot(address, name="r1", bearer="b")
        async with coming_in(robot):
            problem = await problem_of(robot)
    assert "no imserver at this address" in problem and "404" in problem


@pytest.mark.parametrize(
    ("status", "header", "retry_after_s"),
    [
        ("503 Service Unavailable", b"Retry-After: 7\r\n", 7),
        ("429 Too Many Requests", b"Retry-After: 7\r\n", 7),
        ("503 Service Unavailable", b"", None),
        ("503 Service Unavailable", b"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", None),
        ("503 Service Unavailable", b"Retry-After: 99999999999999999999\r\n", None),
    ],
)
async def test_a_server_that_takes_nobody_now_says_when_to_come(status, header, retry_after_s):
    async def turn_away(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %b\r\n%bContent-Length: 4\r\n\r\nfull" % (status.encode(), header))
        await writer.drain()
        writer.close()

    async with sockets(turn_away) as address:
        with pytest.raises(TransportClosed) as caught:
            await connector(address).connect(frame_bytes_max=1000)
    closed = caught.value
    assert (closed.code, closed.reason) == (CloseCode.OVERLOADED, "full")
    assert closed.retry_after_s == retry_after_s


async def test_a_robot_waits_as_long_as_the_server_asked_for_before_it_knocks_again():
    knocks = []

    async def turn_away(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        knocks.append(asyncio.get_running_loop().time())
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n")
        writer.write(b"Content-Length: 4\r\n\r\nfull")
        await writer.drain()
        writer.close()

    async with sockets(turn_away) as address:
        options = Options(connect_timeout_s=20, backoff_base_s=0.001, backoff_cap_s=0.001)
        robot = Robot(address, name="r1", bearer="b", options=options)
        async with coming_in(robot):
            await until(lambda: len(knocks) == 2)
    assert knocks[1] - knocks[0] >= 1.0


@contextlib.asynccontextmanager
async def coming_in(robot):
    """Have a robot try to come online for a while."""
    entering = asyncio.ensure_future(robot.__aenter__())
    yield
    entering.cancel()
    await asyncio.wait([entering])


async def problem_of(robot):
    """Return why a robot is not online, once it knows: how long that takes is the machine's business."""
    machine = robot._link.machine
    await until(lambda: machine.last_problem != "no attempt was made")
    return machine.last_problem


async def test_a_server_of_another_protocol_is_a_clear_error():
    async with serve(echo, "127.0.0.1", 0) as running:
        address = f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}"
        with pytest.raises(TransportClosed, match="subprotocol"):
            await connector(address).connect(frame_bytes_max=1000)


async def test_a_server_that_never_answers_is_given_up_in_time():
    async def nothing(reader, writer):
        await reader.read()
        writer.close()

    async with sockets(nothing) as address:
        robot = Robot(address, name="r1", bearer="b", options=Options(open_timeout_s=0.05))
        async with coming_in(robot):
            assert "did not answer in time" in await problem_of(robot)


async def test_a_server_that_never_welcomes_is_given_up_in_time():
    said_hello = asyncio.Event()

    async def mute(websocket):
        async for _ in websocket:
            said_hello.set()

    async with server(mute) as address:
        robot = Robot(address, name="r1", bearer="b", options=Options(open_timeout_s=LONG_S))
        async with coming_in(robot):
            await said_hello.wait()
            robot._link.machine.open_by_s -= LONG_S
            robot._link._tick()
            assert "did not say welcome" in await problem_of(robot)


async def test_an_answer_at_the_moment_of_giving_up_does_no_harm():
    """The answer waits unread in the socket when the deadline passes."""
    async with server(echo) as address:
        protocol = ClientProtocol(
            parse_uri(websocket_url(address)), subprotocols=[Subprotocol(MSGPACK.name)]
        )
        transport = WebSocketTransport(protocol, binary=True, ping_interval_s=20.0)
        opening = asyncio.ensure_future(transport.wait_open())
        await asyncio.sleep(0)
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening
        host, port = protocol.uri.host, protocol.uri.port
        await asyncio.get_running_loop().create_connection(lambda: transport, host, port)
        problems = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: problems.append(context)
        )
        while protocol.state is WebSocketState.CONNECTING:
            await asyncio.sleep(0.001)
        transport.abort()
        await transport.wait_closed()
    assert not problems


async def test_a_connection_that_was_given_up_before_it_opened_leaves_no_complaint():
    complaints = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    protocol = ClientProtocol(parse_uri("ws://nobody"))
    transport = WebSocketTransport(protocol, binary=True, ping_interval_s=1.0)
    transport.connection_lost(None)
    del transport
    gc.collect()
    assert complaints == []
