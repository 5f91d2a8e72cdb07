"""Faults of the disk: its power is cut, it is full, it is slow, it hangs, it fails."""

import asyncio
import contextlib
import random
import shutil

from tests.chaos.disk import Disk
from tests.chaos.faults.fault import Fault
from tests.chaos.server import ChaosServer
from tests.chaos.world import RECOVERY_LIMIT_S, World

FULL_S = 2.0


def _disk(world: World) -> Disk:
    assert world.disk is not None, "this fault needs a disk of our own"
    return world.disk


async def power_cut(world: World, dice: random.Random) -> None:
    disk, lives_on_s = _disk(world), dice.choice([0.0, 0.0, 0.05, 0.3])
    world.fault("power cut", server_lives_on_s=lives_on_s)
    await asyncio.to_thread(disk.shut_down)
    await asyncio.sleep(lives_on_s)
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


FAULTS = (
    Fault(
        "power cut",
        "what was not forced to the disk is gone; everything acked is still there",
        power_cut,
        needs=("disk",),
        often=9,
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
)
