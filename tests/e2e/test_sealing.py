"""A server that seals what it stores: what operators do with its keys, and what its disk shows."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess
from tests.e2e.test_recovery import imserver
from tests.e2e.wire import Fleet, Peer
from tests.until import PATIENCE_S

ON_DISK = pytest.mark.one_node(
    reason="it handles the files of the embedded store, and its keys by the commands for it alone"
)

SEALING = {"IMSERVER_SEALING_ENABLED": "true", "IMSERVER_LOG_LEVEL": "debug"}
COUNT = 1_000
BODIES = [{"note": f"MARKED-{number:04}"} for number in range(COUNT)]


def done(*arguments: object) -> str:
    """Run a command that must succeed, and return what it prints."""
    process = imserver(*arguments)
    assert process.returncode == 0, process.stderr
    return process.stdout


def refused(*arguments: object) -> str:
    """Run a command that must fail, and return what it says."""
    process = imserver(*arguments)
    assert process.returncode == 1
    assert process.stderr.startswith("imserver: ")
    return process.stderr


def readable(*places: Path) -> list[Path]:
    """Return the files, also those below folders, in which a marked body can be read."""
    files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    assert files
    return [file for file in files if b"MARKED-" in file.read_bytes()]


async def whole_log(peer: Peer, conv: str) -> list[object]:
    """Return all bodies of messages in the log."""
    found: list[object] = []
    after = 0
    while True:
        answer = await peer.request("history", conv=conv, after=after, limit=500)
        events = answer["events"]
        if not events:
            return found
        found += [event["body"] for event in events if event["kind"] == "message"]
        after = events[-1]["seq"]


async def until_said(server: ServerProcess, word: str) -> None:
    """Wait until the server has logged ``word``."""
    async with asyncio.timeout(PATIENCE_S):
        while word not in server.stderr():
            await asyncio.sleep(0.02)


@pytest.fixture
def server(start_server: StartServer, tmp_path: Path) -> ServerProcess:
    done("keys", "new", "--data", tmp_path / "sealed")
    return start_server(data=tmp_path / "sealed", environment=SEALING)


@ON_DISK
async def test_nothing_can_be_read_of_a_running_server_a_killed_one_or_a_backup(
    server: ServerProcess, own_fleet: Fleet, start_server: StartServer, tmp_path: Path
) -> None:
    data, killed, copy, restored = (
        server.data,
        *(tmp_path / name for name in ("killed", "copy", "restored")),
    )
    peer = await own_fleet.online("r1")
    conv = await own_fleet.group(peer)
    await peer.pipeline(conv, BODIES)
    assert (data / "imserver.db-wal").stat().st_size > 0
    assert readable(data, server.stderr_path) == []
    shutil.copytree(data, killed)  # at any moment
    done("backup", "--data", data, copy)
    server.kill()
    assert readable(data, killed, copy, server.stderr_path) == []
    assert "put the ring that has it" in refused("restore", "--from", copy, "--data", restored)
    done("restore", "--from", copy, "--data", restored, "--keys", data / "sealing.keys")
    shutil.copy(data / "sealing.keys", restored)
    own_fleet.server = start_server(data=restored, environment=SEALING)
    assert await whole_log(await own_fleet.online("r1"), conv) == BODIES
    assert readable(restored) == []


@ON_DISK
async def test_a_key_is_changed_under_way_and_the_old_one_removed(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    data = server.data
    peer = await own_fleet.online("r1")
    conv = await own_fleet.group(peer)
    await peer.pipeline(conv, BODIES)
    [old] = done("keys", "list", "--data", data).split()[:1]
    done("keys", "rotate", "--data", data)
    assert "bodies are sealed with it" in refused("keys", "remove", old, "--data", data)
    os.kill(server.pid, signal.SIGHUP)
    await until_said(server, "sealing.wiped")
    done("keys", "remove", old, "--data", data)
    sent = await peer.send(conv, BODIES[0])
    assert sent["seq"] == COUNT + 2
    server.restart()
    peer = await own_fleet.online("r1")
    assert await whole_log(peer, conv) == [*BODIES, BODIES[0]]
    assert "is sound" in done("check", "--data", data)
    assert server.stop() == 0
    assert readable(data, server.stderr_path) == []


async def test_a_repeated_cid_answers_as_it_would_without_seals(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    peer, other = await own_fleet.online("r1"), await own_fleet.online("r2")
    conv = await own_fleet.group(peer, other)
    first = await peer.request("send", conv=conv, cid="c", body=BODIES[0])
    again = await peer.request("send", conv=conv, cid="c", body=BODIES[0])
    assert (again["seq"], again["dup"]) == (first["seq"], True)
    assert await peer.refused_with("send", conv=conv, cid="c", body=BODIES[1]) == "conflict"
    assert (await other.until_seq(conv, first["seq"]))[-1]["body"] == BODIES[0]
    assert b"MARKED-" not in server.stored(), "it is sealed"


@ON_DISK
async def test_a_server_does_not_start_without_the_keys_and_says_what_is_missing(
    server: ServerProcess, own_fleet: Fleet, tmp_path: Path
) -> None:
    peer = await own_fleet.online("r1")
    await peer.pipeline(await own_fleet.group(peer), BODIES[:10])
    assert server.stop() == 0
    serve = ("serve", "--listen", "127.0.0.1:0", "--data", server.data)
    enabled = ("--set", "sealing.enabled=true")
    ring = server.data / "sealing.keys"
    [key] = done("keys", "list", "--data", server.data).split()[:1]
    assert f"sealed (with key {key}), and sealing is off" in refused(*serve)
    ring.rename(tmp_path / "elsewhere.keys")
    done("keys", "new", "--data", server.data)
    assert f"sealed with key {key}, which is not in the key ring" in refused(*serve, *enabled)
