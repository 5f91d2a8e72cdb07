"""The command line from outside: real processes, exit statuses, what stands on which stream."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from client_sdk import BlockingRobot
from imserver import __version__
from imserver.data.directory import DataDirectory
from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess

pytestmark = pytest.mark.process
ONE_PROCESS = pytest.mark.one_node(reason="it looks at one process, its signals and what it prints")
EMBEDDED = pytest.mark.one_node(reason="it looks at the lock or the files of the embedded store")

COMMAND = [sys.executable, "-m", "imserver"]
TIMEOUT_S = 50
Done: TypeAlias = "subprocess.CompletedProcess[str]"
RunCommand: TypeAlias = Callable[..., Done]


def imserver(*arguments: object, **environment: str) -> Done:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def operate(server: ServerProcess) -> RunCommand:
    """Run a client command as the operator of the server."""

    def command(*arguments: object) -> Done:
        done = imserver(*arguments, "--url", server.url, "--data", server.data)
        assert (done.returncode, done.stderr) == (0, "")
        return done

    return command


@pytest.fixture
def robot(server: ServerProcess, tmp_path: Path) -> Iterator[BlockingRobot]:
    """A robot that is online and owns g/dock."""
    token = server.command("enroll", "--robot", "r1", "--groups", "g/dock").strip()
    with BlockingRobot(server.ws_url, name="r1", key=tmp_path / "r1.pem", token=token) as robot:
        yield robot


@ONE_PROCESS
def test_serve_prints_its_ready_line_and_nothing_else(server: ServerProcess) -> None:
    server.stop()
    assert server.stdout() == [f"ready {server.url}"]


@ONE_PROCESS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_with_status_0_when_it_is_told_to(
    server: ServerProcess, number: signal.Signals
) -> None:
    os.kill(server.pid, number)
    assert server.wait_stopped() == 0


def test_serve_logs_json_lines_if_asked(start_server: StartServer) -> None:
    server = start_server(environment={"IMSERVER_LOG_FORMAT": "json"})
    server.stop()
    events = [json.loads(line)["event"] for line in server.stderr().splitlines()]
    assert "node.draining" in events


@EMBEDDED
def test_a_second_server_on_the_same_directory_is_refused_in_one_line(
    server: ServerProcess,
) -> None:
    done = imserver("serve", "--listen", "127.0.0.1:0", "--data", server.data)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("imserver: ")
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told_in_one_line(server: ServerProcess, tmp_path: Path) -> None:
    address = f"127.0.0.1:{server.port}"
    done = imserver("serve", "--listen", address, "--data", tmp_path / "other")
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"imserver: cannot serve on {address}: ")
    assert "address already in use" in last.lower()
    assert "Traceback" not in done.stderr


def test_settings_reach_the_server_from_every_source(
    start_server: StartServer, tmp_path: Path
) -> None:
    config = tmp_path / "imserver.toml"
    config.write_text("[limits]\npage_max = 7\n")
    server = start_server(
        arguments=["--config", str(config), "--set", "limits.members_max=8"],
        environment={"IMSERVER_LIMITS_WINDOW_MAX": "9"},
    )
    with BlockingRobot(server.ws_url, name="r1", bearer=server.token("r1")) as robot:
        limits = robot._robot._link.machine.limits
    assert (limits.page_max, limits.members_max, limits.window_max) == (7, 8, 9)


def test_send_prints_where_the_message_stands(operate: RunCommand, robot: BlockingRobot) -> None:
    assert operate("send", "g/dock", "hello").stdout == "g/dock 2\n"
    [event] = robot.history("g/dock", after=1)
    assert (event.sender, event.kind, event.body) == ("operator", "message", "hello")


def test_send_takes_json_kind_and_cid(operate: RunCommand, robot: BlockingRobot) -> None:
    options = ["--json", "--kind", "command", "--cid", "c-1", "--robot", "boss"]
    assert operate("send", "g/dock", '{"go": [1]}', *options).stdout == "g/dock 2\n"
    [event] = robot.history("g/dock", after=1)
    assert (event.sender, event.kind, event.cid) == ("boss", "command", "c-1")
    assert event.body == {"go": [1]}


def test_sending_the_same_cid_again_stores_nothing_new(
    operate: RunCommand, robot: BlockingRobot
) -> None:
    answers = [operate("send", "g/dock", "hi", "--cid", "c-1").stdout for _ in range(3)]
    assert answers == ["g/dock 2\n"] * 3
    assert len(robot.history("g/dock")) == 2


def test_tail_prints_the_whole_log_from_the_start(
    operate: RunCommand, robot: BlockingRobot
) -> None:
    for number in range(5):
        robot.send("g/dock", {"n": number})
    lines = operate("tail", "g/dock", "--after", 0, "--no-follow").stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1].endswith('r1  message  {"n": 4}')


def test_tail_prints_the_last_lines_as_json(operate: RunCommand, robot: BlockingRobot) -> None:
    for number in range(5):
        robot.send("g/dock", number)
    done = operate("tail", "g/dock", "--lines", 2, "--no-follow", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(event["seq"], event["body"]) for event in events] == [(5, 3), (6, 4)]


def test_tail_follows_until_ctrl_c(server: ServerProcess, robot: BlockingRobot) -> None:
    arguments = ["tail", "g/dock", "--after", "0", "--url", server.url, "--data", str(server.data)]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        watchdog = threading.Timer(TIMEOUT_S, tail.kill)
        watchdog.start()
        assert "group_created" in tail.stdout.readline()
        robot.send("g/dock", "live")
        assert tail.stdout.readline().endswith("r1  message  live\n")
        tail.send_signal(signal.SIGINT)
        assert tail.wait() == 0
        watchdog.cancel()


@ONE_PROCESS
def test_tail_says_that_its_connection_is_lost_and_goes_on_when_it_is_back(
    server: ServerProcess, robot: BlockingRobot
) -> None:
    arguments = ["tail", "g/dock", "--after", "0", "--url", server.url, "--data", str(server.data)]
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, *arguments], stdout=pipe, stderr=pipe, text=True) as tail:
        assert tail.stdout is not None and tail.stderr is not None
        watchdog = threading.Timer(TIMEOUT_S, tail.kill)
        watchdog.start()
        assert "group_created" in tail.stdout.readline()
        server.kill()
        assert tail.stderr.readline().startswith("imserver: disconnected, and trying again: ")
        server.start()
        robot.send("g/dock", "live")
        assert tail.stdout.readline().endswith("r1  message  live\n")
        tail.send_signal(signal.SIGINT)
        assert tail.wait() == 0
        watchdog.cancel()


def test_robots_and_groups_are_listed(operate: RunCommand, robot: BlockingRobot) -> None:
    robots: list[list[str]] = []
    while robots[-1:] != [["r1", "yes"]]:  # a node hears within a second whom others hold
        robots = [line.split()[:2] for line in operate("robots").stdout.splitlines()]
    assert robots == [["ROBOT", "ONLINE"], ["operator", "yes"], ["r1", "yes"]]
    groups = [line.split() for line in operate("groups").stdout.splitlines()]
    assert groups == [["GROUP", "MEMBERS", "SEQ", "ROLE"], ["g/dock", "1", "1", "-"]]


def test_lists_as_json_are_one_object_a_line(operate: RunCommand, robot: BlockingRobot) -> None:
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in operate("groups", "--json").stdout.splitlines()
    ]
    assert [(row["conv"], row["members"]) for row in rows] == [("g/dock", 1)]


@pytest.mark.one_node(reason="there is one; `test_routes` lists several")
def test_the_node_is_listed_for_admins(server: ServerProcess, robot: BlockingRobot) -> None:
    access = ("--url", server.url, "--data", server.data)
    header, row = imserver("nodes", *access).stdout.splitlines()
    assert header.split()[:3] == ["NODE", "ADDRESS", "SINCE"]
    assert (row.split()[1], row.split()[-2:]) == (server.url, ["serving", __version__])
    node = json.loads(imserver("nodes", "--json", *access).stdout)
    assert (node["url"], node["robots"], node["draining"]) == (server.url, 1, False)
    refused = imserver("nodes", "--url", server.url, "--token", server.token("r1"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("imserver: ") and refused.stderr.count("\n") == 1
    assert "only an admin" in refused.stderr


def test_a_server_is_asked_whether_it_is_well(server: ServerProcess) -> None:
    assert imserver("health", "--url", server.url).stdout == "ok\n"
    assert imserver("health", "--ready", IMSERVER_URL=server.url).stdout == "ready\n"
    server.kill()
    done = imserver("health", "--url", server.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not well" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.one_node(reason="the nodes of a cluster have their key in their directories here")
def test_the_key_may_be_a_file_of_its_own(start_server: StartServer, tmp_path: Path) -> None:
    elsewhere = tmp_path / "operator"
    token = imserver("token", "--robot", "boss", "--admin", "--data", elsewhere).stdout.strip()
    server = start_server(arguments=("--set", f"server.key={elsewhere / 'server.key'}"))
    assert imserver("nodes", "--url", server.url, "--token", token).returncode == 0
    assert not (server.data / "server.key").exists()
    missing = tmp_path / "no.key"
    done = imserver("serve", "--data", tmp_path / "d", "--set", f"server.key={missing}")
    assert done.returncode == 1
    assert str(missing) in done.stderr and done.stderr.count("\n") == 1


def test_a_robot_s_own_token_shows_its_own_groups_only(
    server: ServerProcess, robot: BlockingRobot
) -> None:
    token = server.command("token", "--robot", "r9").strip()
    done = imserver("groups", "--json", IMSERVER_URL=server.url, IMSERVER_TOKEN=token)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_refusal_of_the_server_ends_in_one_line_and_status_1(server: ServerProcess) -> None:
    done = imserver("send", "g/none", "hi", "--url", server.url, "--data", server.data)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("imserver: not_found: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.one_node(reason="there is none")
def test_a_server_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    DataDirectory(tmp_path).signing_key()
    done = imserver("robots", "--url", "http://127.0.0.1:1", "--data", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("imserver: not online within 5 s: cannot connect to")
    assert done.stderr.endswith(
        "is a server there, with TLS (https) or without (http)? --url names it\n"
    )
    assert done.stderr.count("\n") == 1


@EMBEDDED
def test_check_finds_nothing_in_a_sound_store(server: ServerProcess, robot: BlockingRobot) -> None:
    robot.send("g/dock", "hi")
    done = imserver("check", "--data", server.data)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is sound: 1 conversations, 2 events" in done.stdout


@EMBEDDED
def test_check_names_the_gap_in_a_damaged_log(server: ServerProcess, robot: BlockingRobot) -> None:
    for number in range(3):
        robot.send("g/dock", number)
    server.stop()
    with sqlite3.connect(DataDirectory(server.data).database_path) as db:
        assert db.execute("DELETE FROM events WHERE seq = 3").rowcount == 1
    done = imserver("check", "--data", server.data)
    assert done.returncode == 1
    assert "gap: 1 " in done.stdout
    assert "is not sound" in done.stderr
    assert done.stderr.count("\n") == 1
