"""What an operator sees: health, metrics, a clean end."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from websockets.exceptions import InvalidStatus

from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet, together


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_and_metrics_answer_over_http(shared_server: ServerProcess, path: str) -> None:
    status, body = get(shared_server.url + path)
    assert status == 200
    assert body


@pytest.mark.one_node(reason="each node counts what it does itself")
async def test_metrics_count_what_happened(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    before = metric_lines(fleet.server)
    await robot.pipeline(conv, range(50))
    after = metric_lines(fleet.server)
    grown = [name for name, value in after.items() if value - before.get(name, 0) >= 50]
    assert [name for name in grown if name.startswith("imserver_")]


def metric_lines(server: ServerProcess) -> dict[str, float]:
    lines = get(f"{server.url}/metrics")[1].splitlines()
    samples = [line.rsplit(" ", 1) for line in lines if line and not line.startswith("#")]
    return {name: float(value) for name, value in samples}


def test_an_unknown_path_is_not_found(shared_server: ServerProcess) -> None:
    assert get(f"{shared_server.url}/no/such/path")[0] == 404


@pytest.mark.one_node(reason="it signals one process")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_asked_to_end_the_server_says_bye_and_exits_with_status_0(
    server: ServerProcess, own_fleet: Fleet, number: signal.Signals
) -> None:
    robot = await own_fleet.online("r1")
    conv = await own_fleet.group(robot)
    sent = await robot.send(conv, "before")
    os.kill(server.pid, number)
    code = await robot.until_closed()
    byes = [notice for notice in robot.notices if notice["t"] == "bye"]
    assert [bye["code"] for bye in byes] == [code]
    assert 4100 <= code <= 4199
    assert byes[0]["reason"]
    assert server.wait_stopped() == 0
    server.start()
    again = await own_fleet.online("r1")
    assert (await again.send(conv, "after"))["seq"] == sent["seq"] + 1


@pytest.mark.one_node(reason="it signals one process")
def test_a_server_that_is_told_to_end_again_and_again_ends_with_0(server: ServerProcess) -> None:
    pid = server.pid
    while server.running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    assert server.wait_stopped() == 0


async def test_what_was_sent_before_the_end_is_stored_or_was_never_acked(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    robot = await own_fleet.online("r1")
    conv = await own_fleet.group(robot)
    ids = {await robot.post("send", conv=conv, cid=f"c{n}", body=n): n for n in range(500)}
    server.terminate()
    await robot.until_closed()
    assert server.wait_stopped() == 0
    server.start()
    again = await own_fleet.online("r1")
    events = (await again.request("history", conv=conv, after=0, limit=1000))["events"]
    stored = {event["cid"]: event["seq"] for event in events}
    acked = {f"c{ids[a['id']]}": a["seq"] for a in robot.answers.values() if a["t"] == "sent"}
    assert acked.items() <= stored.items()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def test_a_server_without_clients_ends_at_once(start_server: StartServer) -> None:
    assert start_server().stop() == 0


def test_a_body_that_does_not_come_is_given_up_when_the_server_ends(
    start_server: StartServer,
) -> None:
    server = start_server(environment={"IMSERVER_SERVER_DRAIN_TIMEOUT_S": "2"})
    head = (
        "POST /v1/groups HTTP/1.1",
        f"Host: {server.host}",
        f"Authorization: Bearer {server.token('r1')}",
        "Content-Type: application/json",
        "Content-Length: 100",
        "Expect: 100-continue",
    )
    with socket.create_connection((server.host, server.port)) as client:
        client.sendall("\r\n".join([*head, "", ""]).encode())
        assert client.recv(65_536).startswith(b"HTTP/1.1 100 "), "the body is waited for"
        client.sendall(b"{")
        assert server.stop() == 0
        assert client.recv(65_536).startswith(b"HTTP/1.1 503 ")
    assert not server.tracebacks()


def test_the_first_start_prints_an_admin_token_once(server: ServerProcess) -> None:
    first = server.stdout()
    assert [line for line in first if "imt1." in line] or "imt1." in server.stderr()
    told = server.stderr().count("imt1.")
    server.restart()
    assert not [line for line in server.stdout() if "imt1." in line]
    assert server.stderr().count("imt1.") == told


@pytest.mark.one_node(reason="the lock guards the embedded store")
def test_a_second_server_on_the_same_directory_refuses_to_start(server: ServerProcess) -> None:
    command = [sys.executable, "-m", "imserver", "serve", "--listen", "127.0.0.1:0"]
    second = subprocess.run(
        [*command, "--data", str(server.data)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert second.returncode != 0
    assert str(server.data) in second.stderr
    assert "Traceback" not in second.stderr
    assert get(f"{server.url}/healthz")[0] == 200


async def test_the_log_holds_no_body_and_no_token(server: ServerProcess, own_fleet: Fleet) -> None:
    robot = await own_fleet.online("r1")
    conv = await own_fleet.group(robot)
    await robot.send(conv, "a-very-secret-body")
    peer = await own_fleet.stranger()
    token = server.token("r1") + "tampered"
    await peer.write({"t": "hello", "robot": "r1", "token": token})
    assert (await peer.read())["code"] == "unauthenticated"
    await asyncio.to_thread(server.stop)
    assert "a-very-secret-body" not in server.stderr()
    assert token not in server.stderr()


@pytest.mark.one_node(reason="each node counts its own connections")
async def test_a_connection_over_the_maximum_is_turned_away_and_the_others_go_on(
    start_server: StartServer,
) -> None:
    server = start_server(environment={"IMSERVER_ACCESS_CONNECTIONS_MAX": "3"})
    fleet = Fleet(server)
    await fleet.register("r1")
    peers = [await fleet.stranger() for _ in range(2)]
    robot = await fleet.online("r1")
    with pytest.raises(InvalidStatus) as refused:
        await fleet.stranger()
    assert refused.value.response.status_code == 503
    await robot.settle()
    await together(*(peer.close() for peer in peers))
    await fleet.stranger()
    await fleet.aclose()


async def test_readers_of_many_groups_come_back_after_a_restart(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    robot = await own_fleet.online("r1")
    convs = [await own_fleet.group(robot, name=f"g{n}") for n in range(50)]
    server.restart()
    again = await own_fleet.online("r1")
    assert [state["conv"] for state in again.welcome["conversations"]] == sorted(convs)
    for conv in convs:
        await again.until_seq(conv, 1)
