"""The demo from outside: a server, robots that talk, one that goes away and catches up."""

import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imserver.data.directory import DataDirectory
from tests.e2e.server_process import ServerProcess

pytestmark = [
    pytest.mark.process,
    pytest.mark.one_node(reason="the demo starts a server of its own"),
]

TIMEOUT_S = 50
CAUGHT_UP = (
    r"picker-\d is back: it missed (\d+) events \(seq \d+ to \d+\) "
    r"and received exactly \1: contiguous, none twice"
)
TOLD = ("posts job", "and is the first", "was first", "% done", "finishes job", CAUGHT_UP)
ORDERLY = re.compile(r"\d+ robots received \d+ events in one order: no gap, none twice")


@contextmanager
def demo(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run the demo; what it writes to both streams comes line by line on its standard output."""
    command = [sys.executable, "-m", "imserver", "demo", *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        watchdog = threading.Timer(TIMEOUT_S, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def read_until(process: "subprocess.Popen[str]", *told: str) -> list[str]:
    """Return the lines up to the one by which each pattern was found in one."""
    assert process.stdout is not None
    lines, missing = [], set(told)
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        missing -= {pattern for pattern in missing if re.search(pattern, line)}
        if not missing:
            return lines
    raise AssertionError(f"no line with any of {missing} in: {lines}")


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_fleet_works_and_one_robot_catches_up(tmp_path: Path) -> None:
    with demo("--listen", "127.0.0.1:0", "--data", tmp_path) as process:
        lines = read_until(process, *TOLD)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate()
    assert process.returncode == 0, out
    assert re.fullmatch(r"ready http://127\.0\.0\.1:\d+", lines[0])
    assert ORDERLY.fullmatch(out.splitlines()[-1]), out


def test_a_demo_ends_when_its_seconds_are_over(tmp_path: Path) -> None:
    with demo("--listen", "127.0.0.1:0", "--data", tmp_path, "--seconds", 1) as process:
        out, _ = process.communicate()
    assert process.returncode == 0, out
    assert ORDERLY.fullmatch(out.splitlines()[-1]), out


def test_ctrl_c_ends_the_demo_and_its_server_with_status_0(tmp_path: Path) -> None:
    with demo("--listen", "127.0.0.1:0", "--data", tmp_path) as process:
        read_until(process, "and is the first")
        [server] = children(process.pid)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
        assert process.returncode == 0, out
    assert ORDERLY.fullmatch(out.splitlines()[-1]), out
    assert "Traceback" not in out
    assert not Path(f"/proc/{server}").exists()


def test_a_second_demo_on_the_same_directory_goes_on_in_the_same_log(tmp_path: Path) -> None:
    heads = []
    for _ in range(2):
        with demo("--listen", "127.0.0.1:0", "--data", tmp_path) as process:
            lines = read_until(process, "and is the first")
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate()
            assert process.returncode == 0, out
            assert ORDERLY.fullmatch(out.splitlines()[-1]), out
        heads.append(int(lines[-1].split()[0]))
    assert heads[1] > heads[0]


def test_a_demo_joins_a_running_server(server: ServerProcess) -> None:
    with demo("--url", server.url, "--data", server.data) as process:
        lines = read_until(process, "and is the first")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate()
    assert process.returncode == 0, out
    assert lines[0] == f"ready {server.url}"
    assert server.running


def test_a_demo_that_finds_no_server_says_so(tmp_path: Path) -> None:
    DataDirectory(tmp_path).signing_key()
    with demo("--url", "http://127.0.0.1:1", "--data", tmp_path, "--seconds", 1) as process:
        out, _ = process.communicate()
    assert process.returncode == 1, out
    assert out.splitlines()[-1].startswith("imserver: no robot came online at http://127.0.0.1:1")


def test_a_demo_whose_server_dies_fails_in_one_line(tmp_path: Path) -> None:
    with demo("--listen", "127.0.0.1:0", "--data", tmp_path) as process:
        read_until(process, "and is the first")
        [server] = children(process.pid)
        os.kill(server, signal.SIGKILL)
        out, _ = process.communicate()
        assert process.returncode == 1, out
    assert out.splitlines()[-1].startswith("imserver: the server ended with status -9")
    assert "Traceback" not in out


def test_a_demo_that_is_killed_leaves_no_server_behind(tmp_path: Path) -> None:
    with demo("--listen", "127.0.0.1:0", "--data", tmp_path) as process:
        read_until(process, "and is the first")
        [server] = children(process.pid)
        watch = os.pidfd_open(server)
        process.kill()
        readable, _, _ = select.select([watch], [], [], TIMEOUT_S)
        os.close(watch)
    assert readable, "the server went on without the demo"


def test_a_demo_on_a_port_in_use_says_so(server: ServerProcess, tmp_path: Path) -> None:
    address = f"127.0.0.1:{server.port}"
    with demo("--listen", address, "--data", tmp_path / "other") as process:
        out, _ = process.communicate()
    assert process.returncode == 1
    assert out.startswith("imserver: the server did not start: ")
    assert "address already in use" in out.lower()
    assert out.count("\n") == 1
