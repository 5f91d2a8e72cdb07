"""The raw TCP port of a real server: beside WebSockets, at its end, and before those who meant another."""

import asyncio
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

import pytest

from client_sdk import Event, Options, Robot
from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_cli import imserver
from tests.e2e.wire import ANY, TCP, Fleet
from tests.until import PATIENCE_S

EACH = 200
WITH_TCP = ("--tcp", "127.0.0.1:0")


async def test_a_session_may_go_on_over_the_other_transport(shared_server: ServerProcess) -> None:
    fleet = Fleet(shared_server, ANY)
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(one, other)
    for number in range(len(ANY) + 1):
        sent = await one.send(conv, number)
        await other.until_seq(conv, sent["seq"])
        await other.settle()
        await other.close()
        old, other = other, await fleet.online("r2")
        assert other.welcome["conversations"][0]["acked"] == sent["seq"]
        other.logs[conv] = old.logs[conv]
    await fleet.aclose()


async def test_a_node_that_stops_tells_robots_on_tcp_when_to_come_back(
    start_server: StartServer,
) -> None:
    server = start_server(arguments=WITH_TCP)
    fleet = Fleet(server, TCP)
    robot = await fleet.online("r1")
    silent = await fleet.stranger()
    server.terminate()
    assert 4100 <= await robot.until_closed() <= 4199
    assert robot.notices[-1]["retry_after"] > 0
    await robot.close()
    await silent.close()
    assert server.wait_stopped() == 0


def test_there_is_no_such_port_unless_it_is_asked_for(start_server: StartServer) -> None:
    server = start_server()
    server.stop()
    assert [line for line in server.stdout() if "tcp" in line] == []


def test_a_tcp_port_in_use_is_told_in_one_line(
    shared_server: ServerProcess, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{shared_server.tcp_port}"
    listen = ("--listen", "127.0.0.1:0", "--data", tmp_path / "other")
    done = imserver("serve", "--tcp", address, *listen)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"imserver: cannot serve on {address}: ")


def test_http_on_the_tcp_port_is_told_in_http(shared_server: ServerProcess) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{shared_server.tcp_port}/", timeout=10)
    with refused.value as answer:
        assert answer.code == 400
        assert b"raw TCP" in answer.read()


def test_tls_on_the_plain_tcp_port_is_refused_by_an_alert(shared_server: ServerProcess) -> None:
    context = ssl.create_default_context()
    address = ("127.0.0.1", shared_server.tcp_port)
    with (
        socket.create_connection(address, timeout=10) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)alert.handshake.failure"),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize("said", [(), (b"IM1M",)], ids=["nothing", "only the preface"])
async def test_who_says_no_hello_is_closed_in_time(
    start_server: StartServer, said: Sequence[bytes]
) -> None:
    server = start_server(arguments=WITH_TCP, environment={"IMSERVER_SERVER_HELLO_TIMEOUT_S": "1"})
    reader, writer = await asyncio.open_connection("127.0.0.1", server.tcp_port)
    writer.writelines(said)
    async with asyncio.timeout(PATIENCE_S):
        ending = await reader.read()
    writer.close()
    assert bool(ending) is bool(said)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_a_robot_of_the_sdk_goes_on_over_tcp_after_the_servers_death(
    start_server: StartServer, codec: Literal["msgpack", "json"]
) -> None:
    server = start_server(arguments=WITH_TCP)
    options = Options(codec=codec, backoff_base_s=0.05)
    url = f"tcp://127.0.0.1:{server.tcp_port}"
    async with (
        Robot(url, name="r1", bearer=server.token("r1"), options=options) as one,
        Robot(server.ws_url, name="r2", bearer=server.token("r2"), options=options) as other,
    ):
        conv = one.direct("r2")
        await one.send(conv, 0)
        server.restart()
        for number in range(1, 4):
            await one.send(conv, number)
            await other.send(conv, -number)
        for robot in (one, other):
            bodies = [event.body async for event in first(robot, 7)]
            assert bodies == [0, 1, -1, 2, -2, 3, -3]
        assert one.statistics().connections == 2


async def first(robot: Robot, count: int) -> AsyncIterator[Event]:
    """Yield so many events."""
    async for event in robot.events():
        yield event
        count -= 1
        if not count:
            return
