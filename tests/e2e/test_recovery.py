"""Damaged stores, lost ends, backups and restores, from outside: real processes and robots on the wire."""

import asyncio
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from imserver.data.directory import DATABASE_NAME, KEY_NAME, SPOOL_NAME
from imserver.data.sqlite.wal import index_path, wal_path
from tests.e2e.conftest import StartServer
from tests.e2e.never_idle import PREFIX
from tests.e2e.server_process import START_TIMEOUT_S, ServerProcess
from tests.e2e.test_crash import whole_log
from tests.e2e.wire import Fleet, Peer, together

pytestmark = [
    pytest.mark.process,
    pytest.mark.one_node(reason="it damages, copies and restores the files of the embedded store"),
]

LOG_HEAD = 32
FRAME = 24 + 4096


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """A server of this test's own, of whose files the last commits may be taken away."""
    return start_server(prefix=PREFIX)


def imserver(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "imserver", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )


async def subprocess_of(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run a command beside the robots."""
    return await asyncio.to_thread(imserver, *arguments)


def metrics(server: ServerProcess) -> str:
    """Return what the server counts."""
    with urlopen(server.url + "/metrics") as answer:
        text: str = answer.read().decode()
        return text


def serve_fails(data: Path) -> str:
    """Return the one line with which a server refuses to start."""
    done = imserver("serve", "--listen", "127.0.0.1:0", "--data", data)
    assert done.returncode == 1
    assert "ready" not in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("imserver: ")]
    assert len(lines) == 1
    return lines[0]


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0x10
    file.write_bytes(content)


async def killed_after_load(server: ServerProcess, fleet: Fleet) -> tuple[str, Peer]:
    """Kill a server that has acked 50 events of a group; return the group and one who has seen them."""
    peer = await fleet.online("r1")
    conv = await fleet.group(peer)
    for number in range(50):
        await peer.send(conv, f"event {number} of 49")
    await peer.until_seq(conv, 51)
    server.kill()
    return conv, peer


def last_commit_lost(data: Path) -> None:
    """Take the last event away, and what was committed behind it, so that the files alone show nothing."""
    database = data / DATABASE_NAME
    log = wal_path(database)
    content = log.read_bytes()
    frames = (content.index(b"event 49 of 49") - LOG_HEAD) // FRAME
    log.write_bytes(content[: LOG_HEAD + frames * FRAME])
    index_path(database).unlink()


@pytest.mark.parametrize("part", ["log", "database"])
async def test_a_server_refuses_to_start_on_a_flipped_bit_and_says_where(
    server: ServerProcess, own_fleet: Fleet, part: str
) -> None:
    await killed_after_load(server, own_fleet)
    database = server.data / DATABASE_NAME
    if part == "log":
        flip(wal_path(database), 32 + 3 * FRAME + 500)
        assert "frame 4 is damaged" in serve_fails(server.data)
    else:
        server.start()
        server.stop()
        flip(database, 3 * 4096 + 500)
        assert "damaged at" in serve_fails(server.data)
    done = imserver("check", "--data", server.data)
    assert done.returncode == 1
    assert "damage" in done.stdout


async def test_an_accepted_loss_lets_the_server_go_on_and_tells_the_robots(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    conv, peer = await killed_after_load(server, own_fleet)
    flip(wal_path(server.data / DATABASE_NAME), -30 * FRAME)
    serve_fails(server.data)
    assert "new epoch" in server.command("accept-loss")
    server.start()
    again = await own_fleet.online("r1", resume={conv: peer.place(conv, 51)})
    sent = await again.send(conv, "on")
    assert sent["epoch"] != peer.epochs[conv]
    assert sent["seq"] < 52
    await again.settle()
    [gap] = [notice for notice in again.notices if notice["t"] == "gap"]
    assert (gap["why"], gap["to"]) == ("restored", 51)
    log = await whole_log(again, conv)
    assert [event["seq"] for event in log] == list(range(1, sent["seq"] + 1))
    assert imserver("check", "--data", server.data).returncode == 0


async def test_a_robot_that_has_seen_a_lost_event_halts_its_conversation_until_that_is_accepted(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    conv, peer = await killed_after_load(server, own_fleet)
    last_commit_lost(server.data)
    server.start()
    witness = await own_fleet.online("r1", resume={conv: peer.place(conv, 51)})
    error = await witness.refusal("send", conv=conv, cid="c", body="new")
    assert error["code"] == "unavailable"
    assert "accept-loss" in error["message"]
    head = witness.welcome["conversations"][0]["seq"]
    assert len(await whole_log(witness, conv)) == head < 51
    assert "data_loss.suspected" in server.stderr()
    assert "imserver_data_loss_suspected_total 1.0" in metrics(server)
    other = await own_fleet.group(witness, name="elsewhere")
    await witness.send(other, "goes on")
    server.stop()
    server.start()
    again = await own_fleet.online("r1")
    assert await again.refused_with("send", conv=conv, cid="c", body="new") == "unavailable"
    server.stop()
    server.command("accept-loss")
    server.start()
    again = await own_fleet.online("r1", resume={conv: peer.place(conv, 51)})
    assert (await again.send(conv, "new"))["seq"] == head + 1


async def test_a_liar_halts_nothing(server: ServerProcess, own_fleet: Fleet) -> None:
    peer = await own_fleet.online("r1")
    conv = await own_fleet.group(peer)
    await peer.until_seq(conv, 1)
    liar = await own_fleet.online("r1", resume={conv: peer.place(conv, 10**9)})
    await liar.send(conv, "goes on")
    assert "data_loss.suspected" in server.stderr()


def test_accepting_a_loss_where_nothing_is_lost_changes_nothing(server: ServerProcess) -> None:
    server.stop()
    before = (server.data / DATABASE_NAME).read_bytes()
    assert "lost nothing" in server.command("accept-loss")
    assert (server.data / DATABASE_NAME).read_bytes() == before


async def test_a_backup_under_load_is_a_prefix_of_every_log_and_restores(
    server: ServerProcess, own_fleet: Fleet, start_server: StartServer, tmp_path: Path
) -> None:
    peers = [await own_fleet.online(name) for name in ("r1", "r2")]
    conv = await own_fleet.group(*peers)
    target = tmp_path / "backup"
    done: list[subprocess.CompletedProcess[str]] = []

    async def send_until_backed_up(peer: Peer) -> None:
        while not done:
            await peer.pipeline(conv, range(50))

    async def back_up() -> None:
        await peers[0].pipeline(conv, range(300))
        process = await subprocess_of("backup", "--data", server.data, target, "--with-key")
        done.append(process)

    await together(send_until_backed_up(peers[1]), back_up())
    assert done[0].returncode == 0, done[0].stderr
    log = await whole_log(peers[1], conv)
    place = peers[1].place(conv, (await peers[1].until_seq(conv, len(log)))[-1]["seq"])
    assert imserver("check", "--data", target).returncode == 0
    restored = tmp_path / "restored"
    assert imserver("restore", "--from", target, "--data", restored).returncode == 0
    other = start_server(data=restored)
    own_fleet.server = other
    again = await own_fleet.online("r2", resume={conv: place})
    kept = await whole_log(again, conv)
    assert 300 < len(kept) < len(log)
    assert kept == log[: len(kept)]
    sent = await again.send(conv, "anew")
    assert (sent["seq"], sent["epoch"] == place["epoch"]) == (len(kept) + 1, False)
    await again.until_seq(conv, sent["seq"])
    [gap] = [notice for notice in again.notices if notice["t"] == "gap"]
    assert (gap["why"], gap["to"]) == ("restored", len(log))
    assert again.logs[conv][0]["seq"] == gap["from"]


def test_a_restore_leaves_what_is_there_alone_unless_forced(
    server: ServerProcess, tmp_path: Path
) -> None:
    target = tmp_path / "backup"
    server.command("backup", str(target))
    key = (server.data / KEY_NAME).read_bytes()
    asked = ("restore", "--from", target, "--data", server.data)
    forced = (*asked, "--force")
    assert "not empty" in imserver(*asked).stderr
    assert "in use by another server" in imserver(*forced).stderr
    server.stop()
    assert "not empty" in imserver(*asked).stderr
    done = imserver(*forced)
    assert done.returncode == 0, done.stderr
    assert (server.data / KEY_NAME).read_bytes() == key
    left = {file.name for file in server.data.iterdir()}
    own = {DATABASE_NAME, DATABASE_NAME + ".lock", KEY_NAME}
    assert own <= left <= own | {DATABASE_NAME + "-wal", DATABASE_NAME + "-shm", SPOOL_NAME}
    server.start()


def test_a_damaged_backup_is_not_restored(server: ServerProcess, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    server.command("backup", str(target))
    flip(target / DATABASE_NAME, 5 * 4096 + 100)
    done = imserver("restore", "--from", target, "--data", tmp_path / "new")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert not (tmp_path / "new" / DATABASE_NAME).exists()


def test_a_backup_holds_no_key_unless_asked_for(server: ServerProcess, tmp_path: Path) -> None:
    server.command("backup", str(tmp_path / "without"))
    server.command("backup", str(tmp_path / "with"), "--with-key")
    assert [file.name for file in sorted((tmp_path / "without").iterdir())] == [DATABASE_NAME]
    key = tmp_path / "with" / KEY_NAME
    assert key.read_bytes() == (server.data / KEY_NAME).read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_backup_goes_into_a_new_directory_only(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").touch()
    done = imserver("backup", "--data", server.data, tmp_path / "used")
    assert (done.returncode, "not empty" in done.stderr) == (1, True)
