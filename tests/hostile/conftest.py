"""A server with honest traffic, which every test must leave undisturbed."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from imserver.protocol.client_frames import CreateGroup
from tests.e2e.conftest import end, pytest_runtest_makereport
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import JSON, MSGPACK, Codec, Fleet, Peer
from tests.hostile.honest_pair import HonestPair
from tests.hostile.raw_socket import RawSocket
from tests.pressure.crew import body_of
from tests.pressure.line import Line
from tests.pressure.site import fill

__all__ = ["pytest_runtest_makereport"]

MEMORY_GROWTH_MAX = 48 * 1024 * 1024
WARM_UP_EVENTS = 200
WARM_UP_BODY_BYTES = 250_000
HELLO_TIMEOUT_S = 2
ADDRESS_CONNECTIONS_MAX = 400


@dataclass
class Target:
    """A server under attack, and the honest robots beside the attacker."""

    server: ServerProcess
    honest: HonestPair


@pytest.fixture(scope="package")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One server for all attacks, with a short hello time limit, and honest robots.

    Not for the whole session: the robots' thread draws random numbers for its pings, and hypothesis takes
    a change of the global state for a strategy that does.
    """
    server = ServerProcess(
        tmp_path_factory.mktemp("attacked") / "data",
        arguments=("--tcp", "127.0.0.1:0"),
        environment={
            "IMSERVER_SERVER_HELLO_TIMEOUT_S": str(HELLO_TIMEOUT_S),
            "IMSERVER_ACCESS_CONNECTIONS_PER_ADDRESS_MAX": str(ADDRESS_CONNECTIONS_MAX),
            "IMSERVER_LOG_LEVEL": "debug",
            # Memory that is kept on purpose is kept small, so that a leak shows.
            "IMSERVER_DELIVERY_TAIL_BYTES_MAX": str(4 * 1024 * 1024),
        },
    )
    server.start()
    warm_up(server)
    honest = HonestPair(server)
    honest.start()
    yield Target(server, honest)
    honest.stop()
    assert_log_is_discreet(server)
    end(server)


def assert_log_is_discreet(server: ServerProcess) -> None:
    """Assert that of all that was sent to a server, no secret and no body is in its log, at any level."""
    log = server.stderr()
    assert "debug" in log, "everything was to be logged"
    signatures = {token.rpartition(".")[2] for token in server.minted}
    told = [each for each in signatures if each in log]
    assert len(signatures) >= 3 and not told, f"{len(told)} of {len(signatures)} tokens were logged"
    for body in ("x" * 40, "<script>", "jndi", "DROP TABLE", "Authorization"):
        assert body not in log, f"{body!r} was logged"


def warm_up(server: ServerProcess) -> None:
    """Have the store fill its cache (32 MiB), so that what grows afterwards is an attack's."""
    line = Line(server.port)
    line.hello("warm-up", server.token("warm-up"), auto=False)
    line.request(CreateGroup(line.next_id(), "warm-up"))
    fill(line, "g/warm-up", WARM_UP_EVENTS, body_of(WARM_UP_BODY_BYTES), in_flight=4)
    line.close()


@pytest.fixture
def target(attacked: Target) -> Iterator[ServerProcess]:
    """The server under attack; afterwards it must be as well as before."""
    pid, tracebacks = attacked.server.pid, len(attacked.server.tracebacks())
    memory = attacked.server.rss()
    yield attacked.server
    assert attacked.server.pid == pid
    attacked.honest.assert_undisturbed()
    assert len(attacked.server.tracebacks()) == tracebacks, attacked.server.stderr()[-4_000:]
    assert attacked.server.rss() - memory < MEMORY_GROWTH_MAX


@pytest.fixture(autouse=True)
async def raw_sockets() -> AsyncIterator[None]:
    """Leave no hand-made connection open."""
    yield
    await RawSocket.close_all()


@pytest.fixture
async def gang(target: ServerProcess) -> AsyncIterator[Fleet]:
    """Robots of the attacker's."""
    gang = Fleet(target)
    yield gang
    await gang.aclose()


@pytest.fixture
async def attacker(gang: Fleet) -> Peer:
    """A robot that has said hello and means no good."""
    return await bearer(gang, "attacker", MSGPACK)


@pytest.fixture
async def json_attacker(gang: Fleet) -> Peer:
    """The same in JSON."""
    return await bearer(gang, "json-attacker", JSON)


async def bearer(gang: Fleet, robot: str, codec: Codec, **fields: Any) -> Peer:
    """Return a robot that came online with a bearer token, which is the quickest way."""
    peer = await gang.stranger(codec)
    peer.robot = gang.name(robot)
    token = gang.server.token(peer.robot)
    peer.welcome = await peer.hello(peer.robot, key=None, token=token, **fields)
    return peer
