"""Faults of the replica set: members are killed or stand still, and the primary gives up its office."""

import asyncio
import random
import time
from collections.abc import Callable

from tests.chaos.cluster.scene import Cluster
from tests.chaos.fault import Fault

Step = Callable[[int], None]
BARRED_S = 5
"""Whoever steps down may not be elected for so long. All have once three have: then nobody may."""


async def _kill(cluster: Cluster, name: str, member: int, away_s: float) -> None:
    cluster.fault(name, member=member, away_s=away_s)
    await asyncio.to_thread(cluster.mongo.kill, member)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(cluster.mongo.start_member, member)
    cluster.healed(name)
    await cluster.wait_sound(name)


async def kill_primary(cluster: Cluster, dice: random.Random) -> None:
    await _kill(cluster, "kill primary", await cluster.primary(), dice.choice([0.0, 5.0, 12.0]))


async def kill_secondary(cluster: Cluster, dice: random.Random) -> None:
    primary = await cluster.primary()
    member = dice.choice([m for m in range(len(cluster.mongods)) if m != primary])
    await _kill(cluster, "kill secondary", member, dice.choice([0.0, 5.0]))


async def _take_away_all(
    cluster: Cluster, name: str, away: Step, back: Step, *, for_s: float
) -> None:
    """Leave no store: nothing may be acked, and all goes on by itself once there is a majority."""
    cluster.outage(name, for_s=for_s)
    members = range(len(cluster.mongods))
    for member in members:
        await asyncio.to_thread(away, member)
    since_s = time.monotonic()
    await asyncio.sleep(for_s)
    cluster.silent(name, since_s=since_s)
    for member in members:
        await asyncio.to_thread(back, member)
    await cluster.primary()
    cluster.restored(name)
    await cluster.wait_sound(name)


async def kill_all(cluster: Cluster, _dice: random.Random) -> None:
    mongo = cluster.mongo
    await _take_away_all(cluster, "kill all mongods", mongo.kill, mongo.start_member, for_s=3.0)


async def pause_all(cluster: Cluster, dice: random.Random) -> None:
    mongo, for_s = cluster.mongo, dice.choice([5.0, 15.0])
    try:
        await _take_away_all(cluster, "pause all mongods", mongo.pause, mongo.resume, for_s=for_s)
    finally:
        for member in range(len(cluster.mongods)):
            mongo.resume(member)


async def pause_primary(cluster: Cluster, dice: random.Random) -> None:
    """Let the primary stand still until another is elected; it wakes up and believes that it is primary."""
    name, for_s = "pause primary", dice.choice([3.0, 15.0, 15.0])
    member = await cluster.primary()
    cluster.fault(name, member=member, for_s=for_s)
    cluster.mongo.pause(member)
    try:
        await asyncio.sleep(for_s)
    finally:
        cluster.mongo.resume(member)
    cluster.healed(name)
    await cluster.wait_sound(name)


async def step_down(cluster: Cluster, dice: random.Random) -> None:
    name, times = "step-down", dice.choice([1, 1, 3])
    for nth in range(1, times + 1):
        note = cluster.fault if nth == times else cluster.outage
        note(name, nth=nth, of=times)
        await asyncio.to_thread(cluster.mongo.step_down, BARRED_S)
        await cluster.primary()
    cluster.healed(name)
    await cluster.wait_sound(name)


FAULTS = (
    Fault("kill primary", "SIGKILL of the primary, away for up to 12 s", kill_primary, often=3),
    Fault("kill secondary", "SIGKILL of a secondary", kill_secondary),
    Fault(
        "kill all mongods",
        "SIGKILL of all mongods: nothing is acked meanwhile; the time counts from a new primary on",
        kill_all,
    ),
    Fault(
        "pause all mongods",
        "SIGSTOP of all mongods for up to 15 s; the time counts from a new primary on",
        pause_all,
    ),
    Fault(
        "pause primary",
        "SIGSTOP of the primary for up to 15 s, then SIGCONT: it is primary no longer, and thinks it is",
        pause_primary,
        often=2,
    ),
    Fault(
        "step-down",
        "the primary gives up its office, once or three times in a row; the last one counts",
        step_down,
        often=2,
    ),
)
