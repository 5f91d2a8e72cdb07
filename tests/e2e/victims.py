"""Robots' programs in processes of their own, to be killed, and what they and the log show afterwards."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from client_sdk import Robot

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "e2e" / "robot_program.py"


class Victim:
    """A robot's program in a process of its own, with what it leaves behind."""

    def __init__(self, server, name, folder, *, sends, sealed=False):
        self.server = server
        self.name = name
        self.key = folder / f"{name}.key"
        self.memory = folder / f"{name}.memory"
        self.journal = folder / f"{name}.journal"
        self.errors = folder / f"{name}.stderr"
        self.sends = sends
        self.sealed = sealed
        self.kills = 0
        self._process = None

    def start(self, conv):
        arguments = (self.name, self.key, self.memory, conv, self.journal, self.sends)
        arguments += ("sealed",) if self.sealed else ()
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
        self.kills += self._process.wait() == -signal.SIGKILL

    def wait_over(self):
        assert self._process.wait(60) == 0, self.errors.read_text()

    def notes(self, word):
        """Return the journal's lines that begin with ``word``, without it."""
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [line[1:] for line in lines if line[0] == word]

    def wait_progress(self):
        """Return when it has written some more, or has come to its end before that."""
        size, until = self.size(), time.monotonic() + 20
        while self.size() <= size + 500:
            if self._process.poll() is not None:
                assert self._process.returncode == 0, self.errors.read_text()
                return
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


def run_and_kill(server, victims, conv, *, kills, rng):
    """Let the programs run to their end, and kill them on the way, and the server now and then."""
    for victim in victims:
        victim.start(conv)
    for turn in range(kills):
        victim = victims[turn % 2]
        victim.wait_progress()
        time.sleep(rng.random() * 0.05)  # the moment of the kill is what the test is about
        victim.kill()
        if turn % 5 == 4:
            server.restart()
        victim.start(conv)
    assert sum(victim.kills for victim in victims) >= kills // 2
    for victim in victims:
        victim.wait_over()
    for victim in victims:  # now that the log is complete, once more to its end
        victim.start(conv)
        victim.wait_over()
