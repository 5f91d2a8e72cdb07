"""Faults of the disk: its power is cut, it is full, it is slow, it hangs, it fails."""

import asyncio
import contextlib
import random
import shutil
import signal
import time

from tests.chaos.disk import Disk
from tests.chaos.fault import Fault
from tests.chaos.server import ChaosServer
from tests.chaos.world import RECOVERY_LIMIT_S, World

FULL_S = 2.0
EXIT_LIMIT_S = 5.0


def _disk(world: World) -> Disk:
    assert world.disk is not None, "this fault needs a disk of our own"
    return world.disk


async def power_cut(world: World, dice: random.Random) -> None:
    """Cut the power: from one instant on the server says nothing more, and the disk takes nothing more.

    In this order, since the kernel's shutdown of a filesystem is no power cut for a call that is under way:
    an fdatasync that meets it may report success, and what it was to sync is gone (see the documentation of
    chaos). Without power nobody hears of it. The store's thread may well be in the middle of a commit.
    """
    disk, after_s = _disk(world), dice.uniform(0.0, 0.3)
    await asyncio.sleep(after_s)
    world.fault("power cut", after_s=round(after_s, 3))
    await world.server.silence()
    await asyncio.to_thread(disk.shut_down)
    await world.server.kill()
    await asyncio.to_thread(disk.power_up)
    await world.restart("power cut")


async def power_cut_at_birth(world: World, dice: random.Random) -> None:
    """Cut the power while a new deployment makes its directory, its key and its schema."""
    disk, after_s = _disk(world), dice.uniform(0.2, 1.5)
    world.fault("power cut at birth", after_s=round(after_s, 3))
    newborn = ChaosServer(disk.mount_point / f"birth-{disk.cuts}", world.folder / "birth.txt")
    starting = asyncio.create_task(newborn.start())
    await asyncio.sleep(after_s)
    await world.server.silence()
    await newborn.silence()
    await asyncio.to_thread(disk.shut_down)
    await newborn.kill()
    await asyncio.wait({starting})
    starting.exception()  # that it was not ready is no wonder
    await world.server.kill()
    await asyncio.to_thread(disk.power_up)
    try:
        await newborn.start()
    except AssertionError as problem:
        world.finding("power cut at birth", f"the new server does not start any more: {problem}")
    await newborn.kill()
    await asyncio.to_thread(shutil.rmtree, newborn.data, ignore_errors=True)
    await world.restart("power cut at birth")


async def full_disk(world: World, dice: random.Random) -> None:
    disk, for_s = _disk(world), dice.uniform(FULL_S, 2 * FULL_S)
    world.fault("disk full", for_s=round(for_s, 2))
    await asyncio.to_thread(disk.fill)
    await asyncio.sleep(for_s)
    survived = world.server.running
    with contextlib.suppress(FileNotFoundError):
        await asyncio.to_thread(disk.free)
    if not survived:
        await world.expect_running("disk full")
        return
    world.healed("disk full", "space was given back, no restart", limit_s=RECOVERY_LIMIT_S)


async def breakdown(world: World, _dice: random.Random) -> None:
    """Let the filesystem turn read-only under the server: it must not ack anything more, and say so."""
    disk, name = _disk(world), "file system breaks"
    world.fault(name)
    await world.server.freeze()
    await asyncio.to_thread(disk.break_down)
    since_s = time.monotonic()
    world.server.signal(signal.SIGCONT)
    status = await world.server.wait_exit(within_s=world.allowed_s(EXIT_LIMIT_S))
    if status is None:
        world.finding(
            name, f"the server still runs {EXIT_LIMIT_S:g} s after its disk went read-only"
        )
        await world.server.kill()
    elif status == 0:
        world.finding(name, "the server ended as if all were well")
    world.silent(name, since_s=since_s)
    await asyncio.to_thread(disk.power_up)
    await world.restart(name)


FAULTS = (
    Fault(
        "power cut",
        "what was not forced to the disk is gone; everything acked is still there",
        power_cut,
        needs=("disk",),
        often=22,
    ),
    Fault(
        "power cut at birth",
        "the power is cut while a new data directory is made: it is whole, or made anew",
        power_cut_at_birth,
        needs=("disk",),
    ),
    Fault(
        "disk full",
        "no space: no crash; after it is given back sends work without a restart",
        full_disk,
        needs=("disk",),
    ),
    Fault(
        "file system breaks",
        "an error makes it read-only: the server acks nothing more and ends, not 0",
        breakdown,
        needs=("disk",),
    ),
)
