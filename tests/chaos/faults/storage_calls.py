"""Faults of single system calls on the store's files: they fail, they are slow, they hang."""

import asyncio
import random
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

from imserver.data.directory import DATABASE_NAME
from tests.chaos.fault import Fault
from tests.chaos.injection import injected
from tests.chaos.world import World

SYNC = "fsync,fdatasync"
WRITE = "pwrite64"
EXIT_LIMIT_S = 5.0
HIT_LIMIT_S = 30.0
HANG_S = 10.0
CHECKPOINT_S = 1.0
DRAIN_LIMIT_S = 20.0
HEALTH_LIMIT_S = 3.0


def _file(world: World, kind: str) -> Path:
    return world.server.data / (DATABASE_NAME + {"wal": "-wal", "database": ""}[kind])


async def failing_sync(world: World, dice: random.Random) -> None:
    await _failing(world, dice, name="fsync fails", kind="wal", calls=SYNC)


async def failing_write(world: World, dice: random.Random) -> None:
    kind = dice.choice(["wal", "database"])
    await _failing(world, dice, name="write fails", kind=kind, calls=WRITE)


async def failing_checkpoint(world: World, dice: random.Random) -> None:
    await _failing(world, dice, name="checkpoint fails", kind="database", calls=SYNC)


async def _failing(world: World, dice: random.Random, *, name: str, kind: str, calls: str) -> None:
    """Let one call fail, and only that one: who retries it is told that all is well."""
    nth = dice.choice([1, 2, 7, 30]) if kind == "wal" else 1
    world.fault(name, file=kind, nth=nth)
    log = world.folder / "strace.txt"
    rule = f"error=EIO:when={nth}"
    async with injected(
        world.server.pid, rule, calls=calls, file=_file(world, kind), log=log
    ) as injection:
        if not await injection.wait_hit(within_s=HIT_LIMIT_S):
            world.journal.note("note", name, "no such call came in time; nothing was injected")
            return
        failed_s = time.monotonic()
        status = await world.server.wait_exit(within_s=world.allowed_s(EXIT_LIMIT_S))
    if status is None:
        world.finding(name, f"the server still runs {EXIT_LIMIT_S:g} s after a {calls} failed")
        await world.server.kill()
    elif status == 0:
        world.finding(name, f"a {calls} failed, and the server ended as if all were well")
    world.silent(name, since_s=failed_s)
    await world.restart(name)


async def slow_disk(world: World, dice: random.Random) -> None:
    delay_ms, for_s = dice.choice([20, 200, 500]), dice.uniform(2.0, 4.0)
    world.fault("slow disk", delay_ms=delay_ms, for_s=round(for_s, 2))
    log = world.folder / "strace.txt"
    rule = f"delay_enter={delay_ms * 1_000}"
    async with injected(
        world.server.pid, rule, calls=SYNC, file=_file(world, "wal"), log=log
    ) as injection:
        if not await world.fleet.wait_acks(
            1, within_s=world.allowed_s(for_s + 5 * delay_ms / 1_000)
        ):
            world.finding("slow disk", "nothing was acked, though the disk was only slow")
        await asyncio.sleep(for_s)
        hits = injection.hits
    world.healed("slow disk", f"{hits} syncs were slow", limit_s=5.0)
    await world.expect_running("slow disk")


async def hung_disk(world: World, dice: random.Random) -> None:
    for_s = dice.uniform(3.0, HANG_S - 1.0)
    world.fault("hung disk", for_s=round(for_s, 2))
    log = world.folder / "strace.txt"
    rule = f"delay_enter={int(HANG_S * 1_000_000)}"
    async with injected(world.server.pid, rule, calls=SYNC, file=_file(world, "wal"), log=log):
        await asyncio.sleep(for_s)
        answered_s = await asyncio.to_thread(
            _health_s, world.server.port, world.allowed_s(HEALTH_LIMIT_S)
        )
        if answered_s is None:
            world.finding("hung disk", f"/healthz did not answer within {HEALTH_LIMIT_S:g} s")
    world.healed("hung disk", limit_s=8.0)
    await world.expect_running("hung disk")


async def end_in_checkpoint(world: World, dice: random.Random) -> None:
    """SIGTERM, again and again, while each sync of the database takes a second, the last one's too."""
    name = "SIGTERM in a checkpoint"
    world.fault(name)
    log = world.folder / "strace.txt"
    rule = f"delay_enter={int(CHECKPOINT_S * 1_000_000)}"
    async with injected(
        world.server.pid, rule, calls=SYNC, file=_file(world, "database"), log=log
    ) as injection:
        for _ in range(4):
            world.server.signal(signal.SIGTERM)
            await asyncio.sleep(dice.uniform(0.1, 0.8))
        status = await world.server.wait_exit(within_s=world.allowed_s(DRAIN_LIMIT_S))
        hits = injection.hits
    if status is None:
        world.finding(name, f"the server has not ended within {DRAIN_LIMIT_S:g} s")
        await world.server.kill()
    elif status != 0:
        world.finding(name, f"it ended with status {status}: {world.server.last_words()}")
    await world.restart(name, text=f"{hits} syncs of the database were slow")


def _health_s(port: int, within_s: float) -> float | None:
    """Return how long ``/healthz`` took to answer anything, or None."""
    began_s = time.monotonic()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=within_s):
            pass
    except urllib.error.HTTPError:
        pass  # red is an answer too
    except OSError:
        return None
    return time.monotonic() - began_s


FAULTS = (
    Fault(
        "fsync fails",
        "EIO from one fsync of the WAL: the server acks nothing more and ends, not 0",
        failing_sync,
        needs=("strace",),
        often=2,
    ),
    Fault(
        "write fails",
        "EIO from one write into the WAL or the database: the same",
        failing_write,
        needs=("strace",),
    ),
    Fault(
        "checkpoint fails",
        "EIO from one fsync of the database file: the same",
        failing_checkpoint,
        needs=("strace",),
    ),
    Fault(
        "slow disk",
        "each fsync takes 20 to 500 ms longer: batches grow, acks go on",
        slow_disk,
        needs=("strace",),
    ),
    Fault(
        "hung disk",
        "an fsync hangs for seconds: nothing is acked, but the server answers",
        hung_disk,
        needs=("strace",),
    ),
    Fault(
        "SIGTERM in a checkpoint",
        "SIGTERM while a checkpoint syncs the database: exit 0, and nothing is missing",
        end_in_checkpoint,
        needs=("strace",),
    ),
)
