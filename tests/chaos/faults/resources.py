"""Faults of what the machine gives the server: file descriptors, memory, CPU, and the time of day."""

import asyncio
import contextlib
import os
import random
import resource
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from tests.chaos.fault import Fault
from tests.chaos.world import CGROUPS, World, faketime_library

MEMORY_GROWTH_BYTES = 64 * 1024 * 1024
CPU_PERIOD_US = 100_000
CPU_QUOTA_US = 20_000
SPARE_DESCRIPTORS = 10
GROUP_PREFIX = "imserver-chaos-"
CLOCK_STEPS = ("@1970-01-01 00:10:00", "@2038-01-19 03:14:05")
"""The second one passes 2^31 seconds after two more."""


async def few_descriptors(world: World, dice: random.Random) -> None:
    pid, for_s = world.server.pid, dice.uniform(2.0, 4.0)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    world.proxy.reset_all()
    await asyncio.sleep(0.05)
    most = world.server.descriptors() + SPARE_DESCRIPTORS
    world.fault("descriptors run out", most=most, for_s=round(for_s, 2))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    cpu_s = _cpu_s(pid)
    await asyncio.sleep(for_s)
    if not world.server.running:
        await world.expect_running("descriptors run out")
        return
    share = (_cpu_s(pid) - cpu_s) / for_s
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    world.healed("descriptors run out", f"{share:.0%} of a core meanwhile", limit_s=8.0)


async def memory_cap(world: World, dice: random.Random) -> None:
    for_s = dice.uniform(3.0, 5.0)
    world.fault("memory cap", growth_bytes=MEMORY_GROWTH_BYTES, for_s=round(for_s, 2))
    limits = {"memory.limit_in_bytes": MEMORY_GROWTH_BYTES}
    async with _cgroup("memory", world.server.pid, limits):
        client = dice.choice(world.fleet.clients)
        client.pause()
        await asyncio.sleep(for_s)
        client.go_on()
    if not world.server.running:
        world.finding("memory cap", "the server was killed for its memory")
        await world.restart("memory cap")
        return
    world.healed("memory cap", limit_s=5.0)


async def cpu_starvation(world: World, dice: random.Random) -> None:
    for_s = dice.uniform(3.0, 6.0)
    world.fault("CPU starvation", share=CPU_QUOTA_US / CPU_PERIOD_US, for_s=round(for_s, 2))
    limits = {"cpu.cfs_period_us": CPU_PERIOD_US, "cpu.cfs_quota_us": CPU_QUOTA_US}
    async with _cgroup("cpu", world.server.pid, limits):
        await asyncio.sleep(for_s)
    world.healed("CPU starvation", limit_s=5.0)
    await world.expect_running("CPU starvation")


async def wrong_clock(world: World, dice: random.Random) -> None:
    steps = list(CLOCK_STEPS)
    dice.shuffle(steps)
    world.fault("wrong clock", steps=steps)
    file = world.folder / "clock.txt"
    file.write_text(steps[0])
    environment = {
        "LD_PRELOAD": str(faketime_library()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    await world.server.kill()
    await world.restart("wrong clock", environment=environment, text=f"started at {steps[0]}")
    for step in steps:
        file.write_text(step)
        if not await world.fleet.wait_acks(1, within_s=world.allowed_s(10.0)):
            world.finding("wrong clock", f"nothing was acked at {step}")
        await asyncio.sleep(3.0)
    if not world.server.running:
        world.finding("wrong clock", f"the server has ended: {world.server.last_words()}")
    await world.server.kill()
    await world.restart("wrong clock", text="started with the right time")


@contextlib.asynccontextmanager
async def _cgroup(controller: str, pid: int, limits: dict[str, int]) -> AsyncIterator[None]:
    """Hold a process in a group of its own (cgroup version 1), with limits."""
    group = CGROUPS / controller / f"{GROUP_PREFIX}{secrets.token_hex(4)}"
    group.mkdir()
    try:
        for name, value in limits.items():
            (group / name).write_text(str(value))
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for member in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (CGROUPS / controller / "cgroup.procs").write_text(member)
        for _ in range(100):
            _remove_empty_groups(controller)
            if not group.exists():
                break
            await asyncio.sleep(0.02)  # a member that was killed is not wholly gone yet


def _remove_empty_groups(controller: str) -> None:
    """Remove groups without members: ours, and what a run that was killed has left behind."""
    for group in (CGROUPS / controller).glob(f"{GROUP_PREFIX}*"):
        with contextlib.suppress(OSError):
            group.rmdir()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


FAULTS = (
    Fault(
        "descriptors run out",
        "the server may open only a few more files: those who are on go on, the others come back",
        few_descriptors,
    ),
    Fault(
        "memory cap",
        "the server may use 64 MiB more and no swap, while a client process stands still",
        memory_cap,
        needs=("memory cgroup",),
    ),
    Fault(
        "CPU starvation",
        "the server gets a fifth of a core",
        cpu_starvation,
        needs=("cpu cgroup",),
    ),
    Fault(
        "wrong clock",
        "the server is started in 1970 or 2038 and jumps to the other while it runs, past 2^31 s",
        wrong_clock,
        needs=("faketime",),
    ),
)
