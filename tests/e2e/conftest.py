"""Real servers in processes of their own, and robots that know nothing but the wire."""

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.certificates import Certificates
from tests.e2e.cluster import cluster_of
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import ANY, WEBSOCKET, Fleet
from tests.mongo_server import MongoSet
from tests.redis_server import redis_process

StartServer: TypeAlias = Callable[..., ServerProcess]

OVER_TLS = "tls"
by_every_way = pytest.mark.parametrize(
    "fleet", [ANY, OVER_TLS], ids=["plain", "tls"], indirect=True
)
"""For a module whose robots come in by different transports, with TLS and without; each transport on its own,
and the doors over HTTP, are the business of `every_door`."""


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers: ``start_server(data=DIR, arguments=[…], environment={"IMSERVER_…": "…"})``."""
    started: list[ServerProcess] = []

    def start(*, data: Path | None = None, **options: Any) -> ServerProcess:
        server = ServerProcess(data or tmp_path / f"data{len(started)}", **options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        end(server)
    for server in started:
        assert not server.tracebacks(), server.stderr()


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """A server of this test's own, which it may kill."""
    return start_server()


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that leave it as they found it."""
    data = tmp_path_factory.mktemp("server") / "data"
    server = ServerProcess(data, arguments=("--tcp", "127.0.0.1:0"))
    server.start()
    yield server
    end(server)


@pytest.fixture
def shared_server(running_server: ServerProcess) -> Iterator[ServerProcess]:
    """The server for all, with a look at what this test made it write."""
    before = len(running_server.tracebacks())
    yield running_server
    assert running_server.running, running_server.stderr()
    assert len(running_server.tracebacks()) == before, running_server.stderr()


@pytest.fixture(scope="session")
def running_tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The same over TLS; it knows clients by their certificates if they show one."""
    folder = tmp_path_factory.mktemp("tls-server")
    certificates = Certificates(folder / "certificates")
    certificates.issue_server()
    asks = ("--tls-client-ca", str(certificates.ca))
    server = ServerProcess(
        folder / "data", arguments=("--tcp", "127.0.0.1:0", *asks), tls=certificates
    )
    server.start()
    yield server
    end(server)


@pytest.fixture
def shared_tls_server(running_tls_server: ServerProcess) -> Iterator[ServerProcess]:
    """The server for all over TLS, with a look at what this test made it write."""
    before = len(running_tls_server.tracebacks())
    yield running_tls_server
    assert running_tls_server.running, running_tls_server.stderr()
    assert len(running_tls_server.tracebacks()) == before, running_tls_server.stderr()


@pytest.fixture(scope="session")
def running_cluster(
    tmp_path_factory: pytest.TempPathFactory, mongo_set: MongoSet
) -> Iterator[tuple[ServerProcess, ...]]:
    """Three nodes on one MongoDB and one Redis, each with a data directory of its own and the same key."""
    folder = tmp_path_factory.mktemp("cluster")
    with redis_process() as redis:
        nodes = cluster_of(3, folder, store=mongo_set.url(), route=redis.url)
        yield nodes
        for node in nodes:
            end(node)


@pytest.fixture
def shared_cluster(
    running_cluster: tuple[ServerProcess, ...],
) -> Iterator[tuple[ServerProcess, ...]]:
    """The cluster for all, with a look at what this test made its nodes write."""
    before = [len(node.tracebacks()) for node in running_cluster]
    yield running_cluster
    for node, count in zip(running_cluster, before, strict=True):
        assert node.running and len(node.tracebacks()) == count, node.stderr()


@pytest.fixture
async def fleet(request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    """Robots on the server for all; their names and groups are this test's own."""
    ways = getattr(request, "param", WEBSOCKET)
    if ways == OVER_TLS:
        fleet = Fleet(request.getfixturevalue("shared_tls_server"), ANY)
    else:
        fleet = Fleet(request.getfixturevalue("shared_server"), ways)
    yield fleet
    await fleet.aclose()


@pytest.fixture
async def own_fleet(server: ServerProcess) -> AsyncIterator[Fleet]:
    """Robots on a server of this test's own."""
    fleet = Fleet(server)
    yield fleet
    await fleet.aclose()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Show what the servers of a failed test wrote to standard error."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, ServerProcess):
                report.sections.append((f"{name} stderr", value.stderr()[-8_000:]))
    return report


def end(server: ServerProcess) -> None:
    """End a server that a test started, if the test has not."""
    if server.running:
        server.stop()
