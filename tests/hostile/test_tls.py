"""Attacks on the TLS handshake, beside robots that mean well."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.certificates import Certificates
from tests.e2e.conftest import end
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import ANY, Fleet, together
from tests.hostile.raw_socket import RawSocket
from tests.hostile.test_floods import MIB, memory_bounded

PATIENCE_S = 20
HELLO_TIMEOUT_S = 4
CLIENT_HELLO = bytes.fromhex("160301009b010000970303") + bytes(148)


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that speaks TLS and gives newcomers little time."""
    folder = tmp_path_factory.mktemp("attacked-tls")
    certificates = Certificates(folder / "certificates")
    certificates.issue_server()
    server = ServerProcess(
        folder / "data",
        arguments=("--tcp", "127.0.0.1:0", "--tls-client-ca", str(certificates.ca)),
        environment={"IMSERVER_SERVER_HELLO_TIMEOUT_S": str(HELLO_TIMEOUT_S)},
        tls=certificates,
    )
    server.start()
    yield server
    end(server)


@pytest.fixture
def attacked_over_tls(tls_server: ServerProcess) -> Iterator[ServerProcess]:
    """The same; afterwards it must be as well as before."""
    pid = tls_server.pid
    yield tls_server
    assert tls_server.pid == pid
    assert not tls_server.tracebacks(), tls_server.stderr()[-4_000:]


@pytest.fixture
async def honest(attacked_over_tls: ServerProcess) -> AsyncIterator[Fleet]:
    """Robots that mean well."""
    fleet = Fleet(attacked_over_tls, ANY)
    yield fleet
    await fleet.aclose()


async def assert_served(fleet: Fleet) -> None:
    """See honest robots come in by every way and talk."""
    robots = [await fleet.online(f"r{number}") for number in range(len(ANY))]
    conv = await fleet.group(*robots)
    await together(*(robot.pipeline(conv, range(20)) for robot in robots))
    head = 1 + 20 * len(robots)
    logs = await together(*(robot.until_seq(conv, head) for robot in robots))
    assert all(log == logs[0] for log in logs)


NO_HANDSHAKES = {
    "nothing": b"",
    "one byte": b"\x16",
    "a header": CLIENT_HELLO[:5],
    "a hello without its last byte": CLIENT_HELLO[:-1],
    "a hello that is none": CLIENT_HELLO,
    "a record that is too large": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "data before the handshake": b"\x17\x03\x03\x00\x10" + bytes(16),
    "a hello of version 2": b"\x80\x2e\x01\x00\x02" + bytes(44),
}


@pytest.mark.parametrize("is_tcp", [False, True], ids=["https", "tcps"])
async def test_handshakes_that_are_none_are_closed(
    attacked_over_tls: ServerProcess, honest: Fleet, is_tcp: bool
) -> None:
    server = attacked_over_tls
    port = server.tcp_port if is_tcp else server.port
    stuck = {}
    for name, first in NO_HANDSHAKES.items():
        stuck[name] = await RawSocket.connect(server, port=port)
        stuck[name].write(first)
    await (await honest.online("r1")).settle()
    ended = await together(*(raw.wait_end(PATIENCE_S) for raw in stuck.values()))
    assert [name for name, is_closed in zip(stuck, ended, strict=True) if not is_closed] == []


async def test_a_handshake_that_dribbles_gains_no_time(attacked_over_tls: ServerProcess) -> None:
    raw = await RawSocket.connect(attacked_over_tls)
    for byte in CLIENT_HELLO:
        raw.write(bytes([byte]))
        if await raw.wait_end(HELLO_TIMEOUT_S / 10):
            return
    raise AssertionError("the deadline is put off by each byte")


async def test_many_handshakes_that_stand_still_keep_nobody_out(
    attacked_over_tls: ServerProcess, honest: Fleet
) -> None:
    with memory_bounded(attacked_over_tls, 64 * MIB):
        stuck = [await RawSocket.connect(attacked_over_tls) for _ in range(200)]
        for raw in stuck:
            raw.write(CLIENT_HELLO[:100])
        await assert_served(honest)
        assert all(await together(*(raw.wait_end(PATIENCE_S) for raw in stuck)))


async def test_noise_within_tls_is_no_harm(
    attacked_over_tls: ServerProcess, honest: Fleet, rng: random.Random
) -> None:
    server = attacked_over_tls
    assert server.tls is not None
    for port in (server.port, server.tcp_port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=server.tls.context())
        writer.write(rng.randbytes(MIB))
        async with asyncio.timeout(PATIENCE_S):
            await read_to_the_end(reader)
        writer.close()
    await assert_served(honest)


async def read_to_the_end(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(65_536):
            pass
    except ConnectionError:
        return


async def test_a_connection_that_is_reset_after_its_handshake_harms_nobody(
    attacked_over_tls: ServerProcess, honest: Fleet
) -> None:
    server = attacked_over_tls
    assert server.tls is not None
    for port in (server.port, server.tcp_port) * 10:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=server.tls.context())
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()
    await assert_served(honest)
