"""Runs on one machine: one server on a disk of its own, and most of the robots behind a proxy."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import apsw

from tests.chaos.cast import SERVER_CONFIG, cast
from tests.chaos.disk import Disk
from tests.chaos.faults import ALL_FAULTS
from tests.chaos.fleet import Fleet, fleet_of
from tests.chaos.journal import Journal
from tests.chaos.plan import Plan
from tests.chaos.proxy import Proxy
from tests.chaos.server import ChaosServer
from tests.chaos.setting import Abilities, Setting
from tests.chaos.world import World, abilities

DISK_BYTES = 4 * 1024**3


@contextlib.asynccontextmanager
async def _world(plan: Plan, journal: Journal, able: Abilities) -> AsyncIterator[World]:
    folder = Path(plan.folder)
    disk = Disk(folder, size_bytes=DISK_BYTES) if able["disk"] is None else None
    proxy = Proxy(random.Random(f"{plan.seed} proxy"))
    place = disk.mount_point if disk is not None else folder
    config = folder / "server.toml"
    config.write_text(SERVER_CONFIG)
    server = ChaosServer(
        place / "data",
        folder / "server-stderr.txt",
        arguments=("--durability", plan.durability, "--config", str(config)),
        package=Path(plan.package) if plan.package else None,
    )
    world = World(
        folder=folder,
        fleet=Fleet([]),
        journal=journal,
        slack=plan.slack,
        server=server,
        proxy=proxy,
        disk=disk,
    )
    try:
        if disk is not None:
            await asyncio.to_thread(disk.make)
        await server.start()
        await proxy.start()
        proxy.target = server.port
        orders = cast(plan.robots, plan.groups, folder=folder, enroll=server.enroll)
        world.fleet = fleet_of(plan, orders, urls=lambda number: _urls(plan, world, number))
        await world.fleet.start()
        yield world
    finally:
        await world.fleet.end()
        await server.kill()
        await proxy.aclose()
        if disk is not None:
            await asyncio.to_thread(disk.remove)


def _urls(plan: Plan, world: World, number: int) -> tuple[str, ...]:
    port = world.server.port if number < plan.direct else world.proxy.port
    return (f"ws://127.0.0.1:{port}",)


ONE_MACHINE = Setting(
    program="tests.chaos",
    title="Chaos",
    robots=24,
    groups=12,
    rate=100.0,
    faults=ALL_FAULTS,
    abilities=abilities,
    needs=(),
    scene=_world,
    harm={
        "kills": ("kill", "kill while starting", "kill while starting"),
        "power cuts": tuple(f.name for f in ALL_FAULTS if f.name.startswith("power cut")),
        "kills of robots' processes": ("kill client",),
    },
    versions=lambda: {"SQLite": apsw.sqlite_lib_version()},
)
