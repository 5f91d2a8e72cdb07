"""Robots with a memory, killed with SIGKILL under load, and the server too: 0 lost, 0 doubled, 0 skipped."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from client_sdk import MemoryFileError, Options, OutcomeUnknown, Robot, WrongServer

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "e2e" / "robot_program.py"
QUICK = Options(backoff_base_s=0.02, backoff_cap_s=0.2)
KILLS = 20
SENDS = 4_000


class Victim:
    """A robot's program in a process of its own, with what it leaves behind."""

    def __init__(self, server, name, folder):
        self.server = server
        self.name = name
        self.key = folder / f"{name}.key"
        self.memory = folder / f"{name}.memory"
        self.journal = folder / f"{name}.journal"
        self.errors = folder / f"{name}.stderr"
        self.kills = 0
        self._process = None

    def start(self, conv):
        arguments = (self.name, self.key, self.memory, conv, self.journal, SENDS)
        with self.errors.open("a") as errors:
            self._process = subprocess.Popen(
                [sys.executable, PROGRAM, self.server.ws_url, *map(str, arguments)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=errors,
            )

    def size(self):
        return self.journal.stat().st_size if self.journal.exists() else 0

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.kills += 1

    def wait_over(self):
        assert self._process.wait(60) == 0, self.errors.read_text()

    def notes(self, word):
        """Return the journal's lines that begin with ``word``, without it."""
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [line[1:] for line in lines if line[0] == word]

    def wait_progress(self):
        """Return when it has written some more: it is under way."""
        size, until = self.size(), time.monotonic() + 20
        while self.size() <= size + 500:
            assert self._process.poll() is None, self.errors.read_text()
            assert time.monotonic() < until, "the robot's program makes no progress"
            time.sleep(0.005)


async def prepare(server, victims):
    """Register the robots, and return a group of them all."""
    for victim in victims:
        token = server.enroll(victim.name)
        async with Robot(server.ws_url, name=victim.name, key=victim.key, token=token) as robot:
            if victim is victims[0]:
                continue
    async with Robot(server.ws_url, name=victims[0].name, key=victims[0].key) as robot:
        return await robot.create_group("dock", [victim.name for victim in victims[1:]])


async def read_log(victim, conv):
    async with Robot(
        victim.server.ws_url, name=victim.name, key=victim.key, device="judge"
    ) as robot:
        log = []
        while page := await robot.history(conv, after=len(log), limit=1000):
            log += page
        return log


def assert_sends_kept(victim, log):
    """What was answered is in the log where the answer said; what was begun is there once at most."""
    by_cid = {event.cid: event.seq for event in log}
    mine = [event.cid for event in log if event.cid.startswith(f"{victim.name}-")]
    assert len(set(mine)) == len(mine), "doubled"
    assert all(by_cid[cid] == int(seq) for seq, cid in victim.notes("sent")), "lost or moved"
    assert set(mine) <= {cid for (cid,) in victim.notes("will")}


def assert_events_seen(victim, log):
    """Each process goes on where the last one ended, or a little before, and skips nothing."""
    whole = [(event.epoch, event.seq, event.cid) for event in log]
    seen = [(epoch, int(seq), cid) for epoch, seq, cid in victim.notes("saw")]
    assert sorted(set(seen), key=lambda item: item[1]) == whole
    steps = [later[1] - earlier[1] for earlier, later in itertools.pairwise(seen)]
    assert max(steps) == 1, "skipped"
    assert sum(step < 1 for step in steps) <= victim.kills, "an event came again without a kill"


def run_and_kill(server, victims, conv, rng):
    """Let the programs run to their end, and kill them on the way, and the server now and then."""
    for victim in victims:
        victim.start(conv)
    for turn in range(KILLS):
        victim = victims[turn % 2]
        victim.wait_progress()
        time.sleep(rng.random() * 0.05)  # the moment of the kill is what the test is about
        victim.kill()
        if turn % 5 == 4:
            server.restart()
        victim.start(conv)
    for victim in victims:
        victim.wait_over()
    for victim in victims:  # now that the log is complete, once more to its end
        victim.start(conv)
        victim.wait_over()


async def test_robots_and_server_killed_under_load_lose_and_double_nothing(server, tmp_path, rng):
    victims = [Victim(server, name, tmp_path) for name in ("a", "b")]
    conv = await prepare(server, victims)
    await asyncio.to_thread(run_and_kill, server, victims, conv, rng)
    log = await read_log(victims[0], conv)
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    for victim in victims:
        assert_sends_kept(victim, log)
        assert_events_seen(victim, log)


async def test_a_send_that_no_server_took_is_sent_by_the_next_process(server, tmp_path):
    key, memory = tmp_path / "a.key", tmp_path / "a.memory"

    def robot(token=None):
        return Robot(server.ws_url, name="a", key=key, token=token, memory=memory, options=QUICK)

    async with robot(server.enroll("a")) as a:
        conv = await a.create_group("dock")
        server.stop()
        for n in range(3):
            with pytest.raises(OutcomeUnknown):
                await a.send(conv, n, timeout_s=0.05)
        assert [waiting.body for waiting in a.waiting()] == [0, 1, 2]
    await asyncio.to_thread(server.start)
    async with robot() as a:
        sent = await a.send(conv, "new")
        log = await a.history(conv, after=1)
        assert a.waiting() == []
    assert [event.body for event in log] == [0, 1, 2, "new"]
    assert sent.seq == 5


async def test_a_memory_goes_with_one_server(server, start_server, tmp_path):
    other = start_server()
    memory = tmp_path / "a.memory"
    for where in (server, other):
        arguments = {"name": "a", "key": tmp_path / "a.key", "token": where.enroll("a")}
        robot = Robot(where.ws_url, memory=memory, options=QUICK, **arguments)
        if where is server:
            async with robot:
                pass
        else:
            with pytest.raises(WrongServer, match="memory belongs to"):
                await robot.__aenter__()


async def test_a_memory_goes_with_one_robot(shared_server, tmp_path):
    memory = tmp_path / "one.memory"
    async with Robot(
        shared_server.ws_url, name="one", bearer=shared_server.token("one"), memory=memory
    ):
        with pytest.raises(MemoryFileError, match="in use"):
            async with Robot(
                shared_server.ws_url, name="one", bearer=shared_server.token("one"), memory=memory
            ):
                pass
    with pytest.raises(MemoryFileError, match="belongs to robot one"):
        async with Robot(
            shared_server.ws_url, name="two", bearer=shared_server.token("two"), memory=memory
        ):
            pass
