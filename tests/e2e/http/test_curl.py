"""curl, which knows nothing of us: the page on HTTP is run as it stands there, and a stream is read live."""

import asyncio
import os
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cutting_proxy import CuttingProxy
from tests.e2e.http.conftest import NewRobot
from tests.e2e.http.robot_over_http import TIMEOUT_S
from tests.e2e.server_process import ServerProcess
from tests.house.source_tree import ROOT
from tests.server_sent_events import Said, parsed

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
PAGE = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class Curl:
    """A curl that reads a stream."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._text = ""

    async def until(self, count: int) -> list[Said]:
        """Return its first so many events, or fewer if it ends before."""
        assert self._process.stdout is not None
        while len(parsed(self._text)) < count:
            chunk = await self._process.stdout.read(65_536)
            if not chunk:
                break
            self._text += chunk.decode()
        return parsed(self._text)[:count]


@asynccontextmanager
async def curl(*arguments: str) -> AsyncIterator[Curl]:
    """Run a curl while the block lasts."""
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--no-buffer", *arguments, stdout=subprocess.PIPE
    )
    try:
        yield Curl(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_curl_reads_a_group_live_loses_its_server_and_resumes(
    server: ServerProcess, new_robot: NewRobot
):
    robot = new_robot(server, "r1")
    await robot.ask("POST", "/groups", json={"name": "dock"})
    token = f"Authorization: Bearer {server.token('r1')}"
    url = f"{server.url}/v1/groups/dock/events/stream"
    async with curl("-H", token, url) as reader:
        first = await reader.until(1)
        await robot.send("dock", "live", key="c1")
        live = await reader.until(2)
        await asyncio.to_thread(server.restart)
        assert await reader.until(3) == live, "the connection is lost, and curl ends"
    again = new_robot(server, "r1")
    await again.send("dock", "missed", key="c2")
    async with curl("-H", token, "-H", f"Last-Event-ID: {live[-1].id}", url) as reader:
        missed = await reader.until(1)
        await again.send("dock", "live again", key="c3")
        resumed = await reader.until(2)
    log = [*live, *resumed]
    assert first == live[:1] and missed == resumed[:1]
    assert [said.id for said in log] == ["1", "2", "3", "4"]
    assert [said.data["body"] for said in log[1:]] == ["live", "missed", "live again"]


async def test_curl_is_cut_in_the_middle_of_events_again_and_again_and_resumes(
    server: ServerProcess, new_robot: NewRobot, rng: random.Random
):
    robot = new_robot(server, "r1")
    await robot.ask("POST", "/groups", json={"name": "dock"})
    token = f"Authorization: Bearer {server.token('r1')}"
    cuts, count = 6, 60  # more than all cuts together can let through
    proxy = CuttingProxy(server.port, rng, cuts=cuts, bytes_max=700)
    url = f"http://127.0.0.1:{proxy.port}/v1/groups/dock/events/stream"
    for number in range(count):
        await robot.send("dock", number, key=f"c{number}")
    log: list[Said] = []
    while len(log) < count + 1:
        last = f"Last-Event-ID: {log[-1].id if log else 0}"
        async with curl("-H", token, "-H", last, url) as reader:
            log += await reader.until(count + 1 - len(log))
    proxy.close()
    assert proxy.cut == cuts
    assert [said.id for said in log] == [str(seq) for seq in range(1, count + 2)]
    assert [said.data["body"] for said in log[1:]] == list(range(count))


@pytest.fixture
async def folder(server: ServerProcess, new_robot: NewRobot, tmp_path: Path) -> Path:
    """A folder in which the page's first command was run, beside a server that has its group."""
    robot = new_robot(server, "r1")
    await robot.ask("POST", "/groups", json={"name": "dock"})
    await robot.send("dock", "all well", key="c1")
    (tmp_path / "tour-data").symlink_to(server.data)
    await asyncio.to_thread(run, BLOCKS[0].splitlines()[0], server, tmp_path)
    return tmp_path


async def test_each_command_of_the_page_does_what_it_says(server: ServerProcess, folder: Path):
    commands = [block for block in BLOCKS if "events/stream" not in block]
    assert len(commands) >= 3
    for command in commands:
        printed = await asyncio.to_thread(run, command, server, folder)
        assert '"conv":"g/dock"' in printed, printed


async def test_the_stream_of_the_page_is_followed(
    server: ServerProcess, folder: Path, new_robot: NewRobot
):
    (command,) = [block for block in BLOCKS if "events/stream" in block]
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f"exec {adapted(command, server)}", cwd=folder, stdout=subprocess.PIPE
    )
    reader = Curl(process)
    assert process.stdout is not None
    first = await process.stdout.readline()
    await new_robot(server, "r1").send("dock", "now", key="c2")
    (said,) = await reader.until(1)
    process.kill()
    await process.communicate()
    assert first.startswith(b"retry: ")
    assert (said.id, said.data["body"]) == ("3", "now")


def run(command: str, server: ServerProcess, folder: Path) -> str:
    """Run a command of the page against the test's server; return what it printed."""
    done = subprocess.run(
        ["bash", "-c", adapted(command, server)],
        cwd=folder,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def adapted(command: str, server: ServerProcess) -> str:
    """Return a command of the page with the test's port."""
    return command.replace("http://127.0.0.1:7400", server.url)
