"""Files with the SDK and the commands: whole at the other end, whatever breaks in between."""

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from client_sdk import BlockingRobot, ErrorCode, Event, FileDamaged, Options, Refused, Robot
from imserver.data.directory import DATABASE_NAME
from imserver.data.sqlite.keys import keys_required
from tests.e2e.conftest import StartServer
from tests.e2e.cutter import Cutter
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_sdk_robot import Crew

pytestmark = pytest.mark.process

MIB = 1024 * 1024
SIZE = 5 * MIB


@pytest.fixture
def crew(shared_server):
    return Crew(shared_server)


@pytest.fixture
def video(tmp_path: Path, rng: random.Random) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(rng.randbytes(SIZE))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def event(file: str, **said: object) -> Event:
    return Event("g/dock", "e", 1, 0, "r1", "c1", "file", None, {"file": file, **said})


async def group(crew: Crew, owner: Robot, *others: str) -> str:
    name = f"dock-{crew.mark}"
    await owner.create_group(name, members=[crew.name(other) for other in others])
    return f"g/{name}"


async def test_a_file_arrives_whole_through_a_line_that_breaks_in_both_directions(
    crew: Crew, video: Path, tmp_path: Path, rng: random.Random
):
    budgets = [rng.randrange(MIB // 2, 2 * MIB) for _ in range(12)]
    told: list[tuple[int, int]] = []
    async with Cutter(lambda: crew.server.port, budgets) as cutter:
        options = Options(http=cutter.url, backoff_base_s=0.01)
        async with crew.robot("r2") as reader, crew.robot("r1", options=options) as sender:
            conv = await group(crew, sender, "r2")
            sent = await sender.send_file(
                conv, video, body={"caption": "dock 7"}, progress=lambda *at: told.append(at)
            )
            cut_on_the_way_up = cutter.cut
            [found] = await reader.history(conv, after=sent.seq - 1, limit=1)
            assert found.body["caption"] == "dock 7"
            assert found.body["sha256"] == digest(video)
            assert (found.kind, found.body["type"]) == ("file", "video/mp4")
            (tmp_path / "in").mkdir()
            budgets[:] = [rng.randrange(MIB // 2, 2 * MIB) for _ in range(6)]
            here = await sender.download(found, tmp_path / "in")
            there = await reader.download(found, tmp_path / "other.mp4")
    assert min(cut_on_the_way_up, cutter.cut - cut_on_the_way_up) >= 2
    assert told[-1] == (SIZE, SIZE)
    assert here == tmp_path / "in" / "video.mp4"
    assert digest(here) == digest(there) == digest(video)
    assert names_in(here.parent) == ["video.mp4"]


async def test_an_upload_goes_on_when_its_server_comes_back(
    server: ServerProcess, video: Path, tmp_path: Path
):
    crew = Crew(server)
    killed = asyncio.Event()

    def on_progress(done: int, size: int) -> None:
        if done > size // 2 and not killed.is_set():
            killed.set()

    async with crew.robot("r1") as robot:
        conv = await group(crew, robot)
        sending = asyncio.create_task(robot.send_file(conv, video, progress=on_progress))
        await killed.wait()
        await asyncio.to_thread(server.restart)
        sent = await sending
        [found] = await robot.history(conv, after=sent.seq - 1, limit=1)
        here = await robot.download(found, tmp_path / "copy")
    assert digest(here) == digest(video)


async def test_a_stranger_gets_not_found(crew: Crew, video: Path, tmp_path: Path):
    async with crew.robot("r1") as sender, crew.robot("r2") as stranger:
        upload = await sender.upload(video)
        with pytest.raises(Refused) as refused:
            await stranger.download(upload.file, tmp_path / "copy")
        assert refused.value.code is ErrorCode.NOT_FOUND
        with pytest.raises(Refused) as refused:
            await sender.send_file("g/nowhere", video)
        assert refused.value.code is ErrorCode.NOT_FOUND


async def test_what_is_not_what_was_said_is_not_kept(crew: Crew, tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("what came")
    async with crew.robot("r1") as robot:
        upload = await robot.upload(path)
        with pytest.raises(FileDamaged, match="SHA-256"):
            await robot.download(event(upload.file, sha256="0" * 64), tmp_path / "copy")
        with pytest.raises(ValueError, match="refers to no file"):
            await robot.download(structs.replace(event(upload.file), body="text"), tmp_path)
    assert names_in(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("../../.bashrc", "bashrc"),
        ("C:\\boot.ini", "boot.ini"),
        ("..", "{file}"),
        ("a\nb\0.png", "ab.png"),
        ("käse.png", "käse.png"),
    ],
)
async def test_no_name_leads_out_of_the_directory(crew: Crew, tmp_path: Path, said: str, name: str):
    path = tmp_path / "a.txt"
    path.write_text("content")
    (tmp_path / "in").mkdir()
    async with crew.robot("r1") as robot:
        upload = await robot.upload(path)
        here = await robot.download(event(upload.file, name=said), tmp_path / "in")
    assert here == tmp_path / "in" / name.format(file=upload.file)


def test_the_blocking_robot_sends_and_fetches(crew: Crew, tmp_path: Path):
    path = tmp_path / "empty.bin"
    path.write_bytes(b"")
    name = crew.name("r1")
    with BlockingRobot(crew.server.url, name=name, bearer=crew.server.token(name)) as robot:
        robot.create_group(f"dock-{crew.mark}")
        sent = robot.send_file(f"g/dock-{crew.mark}", path)
        [found] = robot.history(sent.conv, after=sent.seq - 1, limit=1)
        assert robot.download(found, tmp_path / "copy").read_bytes() == b""


def test_the_commands_send_and_fetch(shared_server: ServerProcess, tmp_path: Path):
    path = tmp_path / "map.png"
    path.write_bytes(b"a map")
    (tmp_path / "in").mkdir()
    url = ("--url", shared_server.url)
    crew = Crew(shared_server)
    with BlockingRobot(
        shared_server.url, name=crew.name("r"), bearer=shared_server.token(crew.name("r"))
    ) as robot:
        robot.create_group(f"dock-{crew.mark}")
    conv = f"g/dock-{crew.mark}"
    printed = shared_server.command("send", conv, "look here", "--file", str(path), *url)
    seq = printed.split()[1]
    fetched = shared_server.command("fetch", conv, seq, "--to", str(tmp_path / "in"), *url)
    assert Path(fetched.strip()) == tmp_path / "in" / "map.png"
    assert Path(fetched.strip()).read_bytes() == b"a map"
    assert "look here" in shared_server.command("tail", conv, "--no-follow", "--json", *url)


@pytest.mark.one_node(reason="it looks for the bytes in the files of the embedded store")
async def test_a_sealed_file_is_read_after_its_key_is_gone_and_nowhere_on_the_disk(
    start_server: StartServer, tmp_path: Path
):
    mark = b"MARKED-CONTENT"
    path = tmp_path / "MARKED-NAME.bin"
    path.write_bytes(mark * 30_000)
    data = tmp_path / "data"
    run("keys", "new", data)
    server = start_server(data=data, environment={"IMSERVER_SEALING_ENABLED": "true"})
    crew = Crew(server)
    async with crew.robot("r1") as robot:
        conv = await group(crew, robot)
        sent = await robot.send_file(conv, path)
        old = run("keys", "list", data).split()[0]
        run("keys", "rotate", data)
        os.kill(server.pid, signal.SIGHUP)
        while old in keys_required(data / DATABASE_NAME):
            await asyncio.sleep(0.02)
        run("keys", "remove", data, old)
        [found] = await robot.history(conv, after=sent.seq - 1, limit=1)
    await asyncio.to_thread(server.restart)
    copy = tmp_path / "copy"
    server.command("backup", str(copy))
    async with crew.robot("r1") as robot:
        here = await robot.download(found, tmp_path / "out.bin")
    assert digest(here) == digest(path)
    for folder in (data, copy):
        kept = [one.read_bytes() for one in folder.rglob("*") if one.is_file()]
        assert kept
        assert not any(mark in one or b"MARKED-NAME" in one for one in kept)


def run(*arguments: object) -> str:
    """Run ``imserver ARGUMENTS``, of which the third is the data directory; return what it printed."""
    first, second, data, *more = map(str, arguments)
    command = [sys.executable, "-m", "imserver", first, second, *more, "--data", data]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
