"""TLS on every port of a real server: who is believed, and certificates that change while robots talk."""

import asyncio
import hashlib
import operator
import os
import re
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidHandshake

from client_sdk import Options, Robot
from client_sdk.address import connector_to
from client_sdk.transport import TransportClosed
from imserver.protocol.codec import MSGPACK
from tests.certificates import Certificates
from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_cli import imserver
from tests.e2e.wire import ANY, Fleet, Peer
from tests.until import until

pytestmark = pytest.mark.one_node(reason="TLS ends at a node, of one or of several alike")

PATIENCE_S = 20
NOT_LET_IN = (OSError, InvalidHandshake, EOFError)
WITH_TCP = ("--tcp", "127.0.0.1:0")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """An authority with a certificate for the server."""
    certificates = Certificates(tmp_path / "certificates")
    certificates.issue_server()
    return certificates


@pytest.fixture
def server(start_server: StartServer, certificates: Certificates) -> ServerProcess:
    """A server of this test's own, with TLS."""
    return start_server(arguments=WITH_TCP, tls=certificates)


@pytest.fixture
async def fleet(server: ServerProcess) -> AsyncIterator[Fleet]:
    """Robots on it, by every way."""
    fleet = Fleet(server, ANY)
    yield fleet
    await fleet.aclose()


def shown(server: ServerProcess, port: int) -> bytes:
    """Return the certificate that a newcomer is shown at a port."""
    assert server.tls is not None
    address = ("127.0.0.1", port)
    with (
        socket.create_connection(address, timeout=PATIENCE_S) as plain,
        server.tls.context().wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


# The certificate of the server.


def test_it_says_where_it_speaks_tls_and_serves_http_over_it(
    shared_tls_server: ServerProcess,
) -> None:
    server = shared_tls_server
    assert server.tls is not None and server.tcp_port
    assert [line.partition("://")[0] for line in server.stdout()] == ["ready https", "ready tcps"]
    with urllib.request.urlopen(f"{server.url}/healthz", context=server.tls.context()) as answer:
        assert answer.status == 200


async def test_a_certificate_is_swapped_under_load_and_no_send_fails(
    server: ServerProcess, fleet: Fleet, certificates: Certificates
) -> None:
    members = [await fleet.online(f"r{number}") for number in range(len(ANY))]
    conv = await fleet.group(*members)
    sent = [0] * len(members)
    is_over = False

    async def talk(number: int) -> None:
        while not is_over:
            answers = await members[number].pipeline(conv, range(10), in_flight=5)
            assert not any(answer["dup"] for answer in answers)
            sent[number] += len(answers)

    async def come_and_go() -> None:
        number = 0
        while not is_over:
            number += 1
            visitor = await fleet.online("visitor", device=f"d{number}", auto=False)
            await visitor.settle()
            await visitor.close()

    async with asyncio.TaskGroup() as group:
        for number in range(len(members)):
            group.create_task(talk(number))
        group.create_task(come_and_go())
        before = await asyncio.to_thread(shown, server, server.port)
        for _ in range(3):
            certificates.issue_server()
            os.kill(server.pid, signal.SIGHUP)
            new = before
            while new == before:
                new = await asyncio.to_thread(shown, server, server.port)
            assert await asyncio.to_thread(shown, server, server.tcp_port) == new
            before = new
            goal = [n + 20 for n in sent]
            await until(lambda goal=goal: all(map(operator.gt, sent, goal)))  # type: ignore[misc]
        is_over = True
    head = 1 + sum(sent)
    for member in members:
        log = await member.until_seq(conv, head)
        assert [event["seq"] for event in log] == list(range(1, head + 1))
        assert not member.notices and not member.errors


async def test_a_certificate_that_cannot_be_used_changes_nothing(
    server: ServerProcess, fleet: Fleet, certificates: Certificates
) -> None:
    robot = await fleet.online("r1")
    before = shown(server, server.port)
    certificates.server.write_text("no certificate")
    os.kill(server.pid, signal.SIGHUP)
    await until(lambda: "tls.not_reloaded" in server.stderr())
    assert shown(server, server.port) == shown(server, server.tcp_port) == before
    await robot.settle()


def test_files_that_are_no_certificate_are_told_in_one_line(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    where = ("--listen", "127.0.0.1:0", "--data", tmp_path / "data")
    done = imserver("serve", *where, "--tls-cert", nothing, "--tls-key", nothing)
    assert (done.returncode, done.stdout) == (2, "")
    assert str(nothing) in done.stderr and "Traceback" not in done.stderr


def test_plain_text_on_an_address_that_others_can_reach_has_to_be_asked_for(
    start_server: StartServer, tmp_path: Path
) -> None:
    where = ("--listen", "0.0.0.0:0", "--data", tmp_path / "data")
    done = imserver("serve", *where)
    assert done.returncode == 2 and "--insecure" in done.stderr and "tls_cert" in done.stderr
    start_server(arguments=("--insecure", "--tcp", "0.0.0.0:0"))


# Plain text and old versions.


@pytest.mark.parametrize("first", [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"IM1M\0\0\0\0"])
@pytest.mark.parametrize("is_tcp", [False, True], ids=["https", "tcps"])
def test_plain_text_on_a_port_with_tls_is_closed(
    shared_tls_server: ServerProcess, first: bytes, is_tcp: bool
) -> None:
    port = shared_tls_server.tcp_port if is_tcp else shared_tls_server.port
    address = ("127.0.0.1", port)
    with socket.create_connection(address, timeout=PATIENCE_S) as plain:
        plain.sendall(first)
        answer = plain.recv(1_000)
    assert b"HTTP/1.1 200" not in answer and b"ok" not in answer


def test_a_client_that_speaks_tls_1_1_at_most_is_refused(shared_tls_server: ServerProcess) -> None:
    address = ("127.0.0.1", shared_tls_server.port)
    ciphers = bytes.fromhex("0004c013002f")  # of TLS 1.0 and 1.1
    body = b"\x03\x02" + bytes(32) + b"\x00" + ciphers + b"\x01\x00"
    hello = b"\x01" + len(body).to_bytes(3) + body
    with socket.create_connection(address, timeout=PATIENCE_S) as plain:
        plain.sendall(b"\x16\x03\x01" + len(hello).to_bytes(2) + hello)
        answer = plain.recv(1_000)
    assert not answer or answer[0] == 0x15  # an alert


# Whom robots believe.


def url(server: ServerProcess, door: str) -> str:
    return server.ws_url if door == "ws" else server.tcp_url


async def visit(address: str, server: ServerProcess, **options: Any) -> None:
    """Come online and go."""
    chosen = Options(connect_timeout_s=PATIENCE_S, **options)
    async with Robot(address, name="r1", bearer=server.token("r1"), options=chosen) as robot:
        assert (await robot.whoami()).robot == "r1"


async def fails_with(problem: str, address: str, **options: Any) -> None:
    """Try to connect in vain, for this reason."""
    connector = connector_to(address, MSGPACK, Options(**options))
    with pytest.raises(TransportClosed) as refused:
        await connector.connect(frame_bytes_max=1_000)
    assert re.search(problem, str(refused.value), re.IGNORECASE), refused.value


@pytest.mark.parametrize("door", ["ws", "tcp"])
async def test_a_robot_believes_no_server_that_nobody_vouches_for(
    shared_tls_server: ServerProcess, door: str
) -> None:
    address = url(shared_tls_server, door)
    await fails_with("certificate.verify.failed", address)


@pytest.mark.parametrize("door", ["ws", "tcp"])
async def test_a_robot_believes_an_authority_that_it_is_given(
    shared_tls_server: ServerProcess, door: str
) -> None:
    server = shared_tls_server
    assert server.tls is not None
    await visit(url(server, door), server, ca=server.tls.ca)


@pytest.mark.parametrize("door", ["ws", "tcp"])
async def test_a_certificate_must_be_for_the_name_of_the_server(
    shared_tls_server: ServerProcess, door: str
) -> None:
    server = shared_tls_server
    assert server.tls is not None
    elsewhere = url(server, door).replace("127.0.0.1", "localhost")
    await fails_with("certificate is not valid for 'localhost'", elsewhere, ca=server.tls.ca)


@pytest.mark.parametrize("door", ["ws", "tcp"])
async def test_a_robot_believes_the_one_certificate_that_is_pinned(
    shared_tls_server: ServerProcess, door: str
) -> None:
    server = shared_tls_server
    assert server.tls is not None
    pin = hashlib.sha256(shown(server, server.port)).hexdigest()
    await visit(url(server, door), server, pin=pin.upper())
    await visit(url(server, door), server, pin=pin, ca=server.tls.ca)
    await fails_with("pinned", url(server, door), pin="0" * 64)


# Clients' certificates.


@pytest.mark.parametrize("door", ["ws", "tcp"])
async def test_a_certificate_that_names_a_robot_is_all_the_proof_it_needs(
    shared_tls_server: ServerProcess, door: str
) -> None:
    server, name = shared_tls_server, f"arm.{door}"
    assert server.tls is not None
    cert, key = server.tls.issue_robot(name)
    options = Options(ca=server.tls.ca, client_cert=cert, client_key=key)
    async with Robot(url(server, door), name=name, options=options) as robot:
        assert (await robot.whoami()).robot == name


async def test_a_certificate_is_no_proof_for_another_robot(
    shared_tls_server: ServerProcess,
) -> None:
    assert shared_tls_server.tls is not None
    peer = await shows(shared_tls_server, shared_tls_server.tls.issue_robot("r1"))
    await peer.write({"t": "hello", "robot": "r2"})
    assert (await peer.read())["t"] == "challenge"
    await peer.close()


async def shows(server: ServerProcess, client: tuple[Path, Path] | None) -> Peer:
    """Connect and show a certificate."""
    assert server.tls is not None
    return await Peer.open(server.ws_url, tls=server.tls.context(client))


@pytest.mark.parametrize("days_ago", [30, -30], ids=["expired", "not yet good"])
async def test_a_certificate_out_of_its_time_is_refused(
    shared_tls_server: ServerProcess, days_ago: int
) -> None:
    assert shared_tls_server.tls is not None
    certificate = shared_tls_server.tls.issue_robot("r1", days_ago=days_ago)
    with pytest.raises(NOT_LET_IN):
        await shows(shared_tls_server, certificate)


async def test_a_certificate_of_another_authority_is_refused(
    shared_tls_server: ServerProcess, tmp_path: Path
) -> None:
    forger = Certificates(tmp_path / "forger")
    with pytest.raises(NOT_LET_IN):
        await shows(shared_tls_server, forger.issue_robot("r1"))


async def test_certificates_can_be_required(
    start_server: StartServer, certificates: Certificates
) -> None:
    asks = ("--tls-client-ca", str(certificates.ca))
    requires = ("--set", "server.tls_client_certs=required")
    server = start_server(arguments=(*asks, *requires), tls=certificates)
    with pytest.raises(NOT_LET_IN):
        await shows(server, None)
    peer = await shows(server, certificates.issue_robot("r1"))
    assert (await peer.hello("r1", key=None))["t"] == "welcome"
    await peer.close()
