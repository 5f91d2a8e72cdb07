"""Faults of packets, dropped by the kernel (nftables) in the run's own network namespace."""

import asyncio
import random

from tests.chaos.fault import Fault
from tests.chaos.scene import run_command
from tests.chaos.world import World

TABLE = "imserver_chaos"
_TO_SERVER, _FROM_SERVER = "tcp dport", "tcp sport"


async def _drop(world: World, rules: list[str], *, for_s: float) -> None:
    hook = "{ type filter hook input priority 0; }"
    script = [f"add table ip {TABLE}", f"add chain ip {TABLE} input {hook}"]
    script += [f"add rule ip {TABLE} input {rule} drop" for rule in rules]
    await run_command("nft", "; ".join(script))
    try:
        await asyncio.sleep(for_s)
    finally:
        await run_command("nft", "delete", "table", "ip", TABLE)


async def loss(world: World, dice: random.Random) -> None:
    percent, for_s = dice.choice([1, 10, 30]), dice.uniform(2.0, 5.0)
    world.fault("packet loss", percent=percent, for_s=round(for_s, 2))
    port = world.server.port
    some = f"numgen random mod 100 < {percent}"
    rules = [f"{way} {port} {some}" for way in (_TO_SERVER, _FROM_SERVER)]
    await _drop(world, rules, for_s=for_s)
    world.healed("packet loss", limit_s=8.0)
    await world.expect_running("packet loss")


async def partition(world: World, dice: random.Random) -> None:
    ways = dice.choice([[_TO_SERVER], [_FROM_SERVER], [_TO_SERVER, _FROM_SERVER]])
    for_s = dice.choice([0.5, 2.0, 8.0])
    world.fault("partition", for_s=for_s, dropped=ways)
    await _drop(world, [f"{way} {world.server.port}" for way in ways], for_s=for_s)
    world.healed("partition", limit_s=15.0)
    await world.expect_running("partition")


FAULTS = (
    Fault(
        "packet loss",
        "1, 10 or 30 % of all packets to and from the server are dropped",
        loss,
        needs=("nft",),
    ),
    Fault(
        "partition",
        "all packets are dropped, one way or both, for up to 8 s",
        partition,
        needs=("nft",),
    ),
)
