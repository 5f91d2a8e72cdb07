"""A server whose store is a MongoDB: what clients see when it, or the server, ends."""

import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_crash import whole_log
from tests.e2e.wire import Fleet
from tests.mongo_server import MongoSet

pytestmark = pytest.mark.one_node(
    reason="one node on a MongoDB, or two that do not know of each other"
)


@pytest.fixture
def store(mongo_set: MongoSet) -> str:
    return mongo_set.url()


@pytest.fixture
def server(start_server: StartServer, store: str) -> ServerProcess:
    return start_server(arguments=["--store", store])


@pytest.fixture
async def fleet(server: ServerProcess) -> AsyncIterator[Fleet]:
    fleet = Fleet(server)
    yield fleet
    await fleet.aclose()


def answer_of(server: ServerProcess, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(server.url + path) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


async def test_everything_is_there_after_the_server_was_killed(
    server: ServerProcess, fleet: Fleet
) -> None:
    first, second = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(first, second)
    sent = [await first.send(conv, n, cid=f"c{n}") for n in range(20)]
    assert answer_of(server, "/readyz")[0] == 200
    server.restart()
    again = await fleet.online("r1")
    assert (await again.send(conv, 7, cid="c7"))["seq"] == sent[7]["seq"]
    assert [entry["seq"] for entry in await whole_log(again, conv)] == list(range(1, 22))
    assert "imserver_store_retries_total" in answer_of(server, "/metrics")[1]


async def test_two_servers_on_one_store_make_one_log(
    start_server: StartServer, server: ServerProcess, fleet: Fleet, store: str, tmp_path: Path
) -> None:
    peer = await fleet.online("r1")
    conv = await fleet.group(peer)
    await peer.send(conv, 1)
    data = tmp_path / "other"
    data.mkdir()
    shutil.copy(server.data / "server.key", data)
    fleet.server = start_server(data=data, arguments=["--store", store])
    beside = await fleet.online("r1", device="spare")
    assert [entry["seq"] for entry in await whole_log(beside, conv)] == [1, 2]
    assert (await beside.send(conv, 2))["seq"] == 3
    assert (await peer.send(conv, 3))["seq"] == 4
    await peer.until_seq(conv, 4)


async def test_without_its_store_a_server_says_so_and_recovers_by_itself(
    start_server: StartServer,
) -> None:
    servers = MongoSet().start()
    fleet = Fleet(start_server(arguments=["--store", servers.url()]))
    try:
        peer = await fleet.online("r1")
        conv = await fleet.group(peer)
        await peer.send(conv, 1)
        servers.stop_member(0)
        assert await peer.refused_with("send", conv=conv, cid="x", body=2) == "unavailable"
        not_ready = (503, "store: it cannot be read or written now\n")
        assert [answer_of(fleet.server, "/readyz") for _ in range(2)] == [not_ready] * 2
        assert fleet.server.stderr().count("readiness.lost") == 1, "the log says why"
        servers.start_member(0)
        servers.wait_for_primary()
        assert (await peer.send(conv, 2, cid="x"))["seq"] == 3
        assert answer_of(fleet.server, "/readyz")[0] == 200
    finally:
        await fleet.aclose()
        servers.stop()
