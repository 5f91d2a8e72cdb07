"""Faults of starting: where a server must not start, where it is ended while it starts, and odd machines."""

import asyncio
import contextlib
import random
import shutil
import signal
from pathlib import Path

from tests.chaos.fault import Fault
from tests.chaos.scene import run_command
from tests.chaos.world import World

CLOCK_OFFSET_S = 100_000_000
END_LIMIT_S = 15.0
SHIFTED = (
    "unshare",
    "--time",
    "--monotonic",
    str(CLOCK_OFFSET_S),
    "--boottime",
    str(CLOCK_OFFSET_S),
)


async def second_server(world: World, _dice: random.Random) -> None:
    world.fault("second server")
    await _expect_refused(world, "second server", world.server.data)
    world.healed("second server")
    await world.expect_running("second server")


async def no_room(world: World, dice: random.Random) -> None:
    """Start a server where there is no space, or where no file can be made."""
    lacking = dice.choice(["size=64k", "nr_inodes=2"])
    world.fault("no room to start", disk=lacking)
    folder = world.folder / "tiny"
    folder.mkdir(exist_ok=True)
    await run_command("mount", "-t", "tmpfs", "-o", lacking, "tmpfs", str(folder))
    try:
        await _expect_refused(world, "no room to start", folder / "data")
    finally:
        await run_command("umount", str(folder))
    world.healed("no room to start")
    await world.expect_running("no room to start")


async def read_only_directory(world: World, dice: random.Random) -> None:
    """Start a server on a directory that cannot be written: a new one, or a copy of what others made."""
    is_new = dice.random() < 0.5
    world.fault("read-only directory", new=is_new)
    folder = world.folder / "frozen"
    folder.mkdir(exist_ok=True)
    if not is_new:
        await world.server.attempt(folder / "data")
    await run_command("mount", "--bind", str(folder), str(folder))
    try:
        await run_command("mount", "-o", "remount,bind,ro", str(folder))
        await _expect_refused(world, "read-only directory", folder / "data")
    finally:
        await run_command("umount", str(folder))
        await asyncio.to_thread(shutil.rmtree, folder)
    world.healed("read-only directory")
    await world.expect_running("read-only directory")


async def end_while_starting(world: World, dice: random.Random) -> None:
    """SIGTERM at any moment of a start; what it left must start again."""
    after_s = dice.uniform(0.0, 1.2)
    world.fault("SIGTERM while starting", after_s=round(after_s, 3))
    await world.server.kill()
    starting = asyncio.create_task(world.server.start())
    await asyncio.sleep(after_s)
    world.server.signal(signal.SIGTERM)
    status = await world.server.wait_exit(within_s=world.allowed_s(END_LIMIT_S))
    if status is None:
        text = f"the server has not ended {END_LIMIT_S:g} s after SIGTERM"
        world.finding("SIGTERM while starting", text)
        await world.server.kill()
    elif status not in (0, -signal.SIGTERM):
        words = world.server.last_words()
        world.finding("SIGTERM while starting", f"it ended with status {status}: {words}")
    with contextlib.suppress(AssertionError):  # it was not ready: that was wanted
        await starting
    await world.restart("SIGTERM while starting")


async def late_in_uptime(world: World, _dice: random.Random) -> None:
    """Run the server for a while on a machine that was booted three years ago."""
    world.fault("three years of uptime", offset_s=CLOCK_OFFSET_S)
    await world.server.kill()
    await world.restart("three years of uptime", prefix=SHIFTED, text="started on such a machine")
    if not await world.fleet.wait_acks(20, within_s=world.allowed_s(10.0)):
        world.finding("three years of uptime", "next to nothing was acked")
    await asyncio.sleep(2.0)
    await world.server.kill()
    await world.restart("three years of uptime", text="started with the machine's own clocks")


async def _expect_refused(world: World, name: str, data: Path) -> None:
    """Start another server on a directory, where it must end with an error that names the directory."""
    status, words = await world.server.attempt(data)
    if status in (None, 0):
        world.finding(name, f"a server was let onto {data}: {words}")
    elif "Traceback" in words or str(data) not in words:
        world.finding(name, f"it is not said what is wrong with {data}: {words[-1_000:]}")
    else:
        world.journal.note("note", name, f"it was refused: {words.splitlines()[-1]}")


FAULTS = (
    Fault("second server", "another server on the same directory is refused", second_server),
    Fault(
        "no room to start",
        "a new server where there is no space, or no inode: it ends and says where",
        no_room,
        needs=("mounts",),
    ),
    Fault(
        "read-only directory",
        "a server on a directory that it cannot write: it ends and says where",
        read_only_directory,
        needs=("mounts",),
    ),
    Fault(
        "SIGTERM while starting",
        "SIGTERM at a random moment of a start: it ends in time, and the next start works",
        end_while_starting,
    ),
    Fault(
        "three years of uptime",
        "the clocks since boot stand at 10^8 s (a time namespace)",
        late_in_uptime,
        needs=("time namespace",),
    ),
)
