"""Real servers in processes of their own, and robots that know nothing but the wire.

A scenario is told once and takes place on one server or on a cluster of three nodes, over which its robots
are spread: its fixtures, ``shared_server`` or ``start_server``, hand out the one or the other. With
``--cluster`` (``make test-cluster``) all scenarios take place on three nodes; without it all of them on one,
and those of `ON_BOTH` on three as well. What makes no sense on three says so by the mark ``one_node``, with
the reason.
"""

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.certificates import Certificates
from tests.e2e.cluster import NODES, Cluster
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import ANY, WEBSOCKET, Fleet
from tests.mongo_server import MongoSet
from tests.redis_server import RedisServer, redis_process

StartServer: TypeAlias = Callable[..., ServerProcess]

ONE_NODE, CLUSTER = "one-node", "cluster"
"""What a scenario takes place on."""

ON_BOTH = frozenset({"test_lists.py", "test_messages.py", "test_presence_and_signals.py"})
"""The modules that a run without ``--cluster`` shows on a cluster too: the promises, and what nodes owe each
other, in half a minute."""

WITH_TCP = ("--tcp", "127.0.0.1:0")

OVER_TLS = "tls"
by_every_way = pytest.mark.parametrize(
    "fleet", [ANY, OVER_TLS], ids=["plain", "tls"], indirect=True
)
"""For a module whose robots come in by different transports, with TLS and without; each transport on its own,
and the doors over HTTP, are the business of `every_door`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let a scenario take place on what the run is about."""
    if "deployment" not in metafunc.fixturenames:
        return
    if metafunc.definition.get_closest_marker("one_node"):
        return
    if metafunc.config.getoption("--cluster"):
        metafunc.parametrize("deployment", [CLUSTER], indirect=True)
    elif metafunc.definition.path.name in ON_BOTH:
        metafunc.parametrize("deployment", [ONE_NODE, CLUSTER], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not asked for, and see to it that each test says where it takes place."""
    mine = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    silent = [item.nodeid for item in mine if not _says_where(item)]
    if silent:
        raise pytest.UsageError(
            f"let these use `deployment` by a fixture, or mark them one_node with a reason: {silent}"
        )
    left_out = {item for item in mine if not _is_wanted(item, config.getoption("--cluster"))}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    for item in mine:
        if _place_of(item) == CLUSTER:
            limit = item.get_closest_marker("timeout")
            seconds = float(limit.args[0] if limit else config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(seconds * NODES), append=False)


def _says_where(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("one_node")
    fixtures = {*getattr(item, "fixturenames", ())}
    return bool(mark.kwargs["reason"]) if mark else bool(fixtures & {"deployment", "site", "nodes"})


def _is_wanted(item: pytest.Item, is_cluster_run: bool) -> bool:
    place, params = _place_of(item), _params_of(item)
    if place == CLUSTER:
        return params.get("fleet") != OVER_TLS  # which ends at each node alike, one or several
    on_nodes = params.get("site") == CLUSTER or "nodes" in getattr(item, "fixturenames", ())
    return on_nodes or not is_cluster_run


def _place_of(item: pytest.Item) -> str:
    return str(_params_of(item).get("deployment", ONE_NODE))


def _params_of(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return dict(callspec.params) if callspec is not None else {}


@pytest.fixture
def deployment(request: pytest.FixtureRequest) -> str:
    """What the scenario takes place on: `ONE_NODE` or `CLUSTER`."""
    return str(getattr(request, "param", ONE_NODE))


@pytest.fixture
def start_server(
    request: pytest.FixtureRequest, tmp_path: Path, deployment: str
) -> Iterator[StartServer]:
    """Start servers: ``start_server(data=DIR, arguments=[…], environment={"IMSERVER_…": "…"})``."""
    started: list[ServerProcess] = []

    def start(*, data: Path | None = None, **options: Any) -> ServerProcess:
        folder = data or tmp_path / f"data{len(started)}"
        server = (
            ServerProcess(folder, **options)
            if deployment == ONE_NODE
            else _cluster(request, folder, **options)
        )
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


def _cluster(request: pytest.FixtureRequest, data: Path, **options: Any) -> Cluster:
    """Return three nodes, not started yet, on a database of their own."""
    mongo_set: MongoSet = request.getfixturevalue("mongo_set")
    redis: RedisServer = request.getfixturevalue("running_redis")
    return Cluster(data, store=mongo_set.url(), route=redis.url, **options)


@pytest.fixture(scope="session")
def running_redis() -> Iterator[RedisServer]:
    """One Redis for all clusters: what each keeps in it is under the id of its deployment."""
    with redis_process() as redis:
        yield redis


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that leave it as they found it."""
    data = tmp_path_factory.mktemp("server") / "data"
    server = ServerProcess(data, arguments=WITH_TCP)
    server.start()
    yield server
    end(server)


@pytest.fixture
def shared_server(request: pytest.FixtureRequest, deployment: str) -> Iterator[ServerProcess]:
    """The server for all, with a look at what this test made it write."""
    name = "running_server" if deployment == ONE_NODE else "running_cluster"
    yield from _looked_at(request.getfixturevalue(name))


def _looked_at(server: ServerProcess) -> Iterator[ServerProcess]:
    before = len(server.tracebacks())
    yield server
    for node in server.nodes:
        assert node.running, server.stderr()
    assert len(server.tracebacks()) == before, server.stderr()


@pytest.fixture(scope="session")
def running_tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The same over TLS; it knows clients by their certificates if they show one."""
    folder = tmp_path_factory.mktemp("tls-server")
    certificates = Certificates(folder / "certificates")
    certificates.issue_server()
    asks = ("--tls-client-ca", str(certificates.ca))
    server = ServerProcess(folder / "data", arguments=(*WITH_TCP, *asks), tls=certificates)
    server.start()
    yield server
    end(server)


@pytest.fixture
def shared_tls_server(running_tls_server: ServerProcess) -> Iterator[ServerProcess]:
    """The server for all over TLS, with a look at what this test made it write."""
    yield from _looked_at(running_tls_server)


@pytest.fixture(scope="session")
def running_cluster(
    tmp_path_factory: pytest.TempPathFactory, mongo_set: MongoSet, running_redis: RedisServer
) -> Iterator[Cluster]:
    """Three nodes for all tests that leave them as they found them."""
    data = tmp_path_factory.mktemp("cluster") / "data"
    cluster = Cluster(data, store=mongo_set.url(), route=running_redis.url, arguments=WITH_TCP)
    cluster.start()
    yield cluster
    end(cluster)


@pytest.fixture
def shared_cluster(running_cluster: Cluster) -> Iterator[ServerProcess]:
    """The cluster for all, with a look at what this test made its nodes write."""
    yield from _looked_at(running_cluster)


@pytest.fixture
async def fleet(request: pytest.FixtureRequest, deployment: str) -> AsyncIterator[Fleet]:
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
