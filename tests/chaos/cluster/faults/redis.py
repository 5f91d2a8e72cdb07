"""Faults of Redis: all that it holds may be lost at any moment, and sends go on without it."""

import asyncio
import random
from typing import Any

from tests.chaos.cluster.network import both_ways
from tests.chaos.cluster.scene import Cluster
from tests.chaos.fault import Fault, Strike


async def kill(cluster: Cluster, dice: random.Random) -> None:
    name, away_s = "kill redis", dice.choice([0.0, 3.0, 12.0])
    cluster.fault(name, away_s=away_s)
    server = cluster.redis.server
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(server.start)
    cluster.healed(name)
    await cluster.redis.follow()


async def pause(cluster: Cluster, dice: random.Random) -> None:
    name, for_s = "pause redis", dice.choice([0.8, 4.0, 10.0])
    cluster.fault(name, for_s=for_s)
    cluster.redis.server.pause()
    try:
        await asyncio.sleep(for_s)
    finally:
        cluster.redis.server.go_on()
    cluster.healed(name)


def _command(name: str, *command: Any) -> Strike[Cluster]:
    async def strike(cluster: Cluster, dice: random.Random) -> None:
        times = dice.randint(1, 5)
        cluster.fault(name, times=times)
        for _ in range(times):
            await cluster.redis.ask(cluster.redis.primary, *command)
            await asyncio.sleep(dice.uniform(0.0, 0.5))
        cluster.healed(name)

    return strike


def _narrow(name: str, setting: str, value: str) -> Strike[Cluster]:
    async def strike(cluster: Cluster, dice: random.Random) -> None:
        for_s, ask = dice.uniform(4.0, 10.0), cluster.redis.ask
        primary = cluster.redis.primary
        usual = (await ask(primary, "CONFIG", "GET", setting))[setting]
        cluster.fault(name, for_s=round(for_s, 2))
        await ask(primary, "CONFIG", "SET", setting, value)
        try:
            await asyncio.sleep(for_s)
        finally:
            await ask(primary, "CONFIG", "SET", setting, usual)
        cluster.healed(name)

    return strike


async def fail_over(cluster: Cluster, dice: random.Random) -> None:
    """Let the replica take over without the last second of what the primary was told."""
    name, redis = "redis failover", cluster.redis
    cluster.fault(name)
    old = redis.server
    async with cluster.network.cut(both_ways([redis.primary], [redis.replica])):
        await asyncio.sleep(1.0)
        old.pause()
        try:
            await redis.promote()
            await asyncio.sleep(dice.uniform(0.0, 3.0))
        finally:
            old.go_on()
        await asyncio.sleep(dice.uniform(0.0, 2.0))
    cluster.healed(name, f"{redis.primary} has taken over")
    await redis.follow()


FAULTS = (
    Fault(
        "kill redis", "SIGKILL of Redis, away for up to 12 s; it comes back empty", kill, often=2
    ),
    Fault("pause redis", "SIGSTOP of Redis for up to 10 s", pause, often=2),
    Fault("flush redis", "FLUSHALL, a few times", _command("flush redis", "FLUSHALL")),
    Fault(
        "cut subscribers",
        "CLIENT KILL TYPE pubsub, a few times",
        _command("cut subscribers", "CLIENT", "KILL", "TYPE", "pubsub"),
    ),
    Fault(
        "narrow buffers",
        "client-output-buffer-limit pubsub 65536 32768 5: whoever reads slowly is cut off",
        _narrow("narrow buffers", "client-output-buffer-limit", "pubsub 65536 32768 5"),
    ),
    Fault(
        "little memory",
        "maxmemory 1mb: Redis stores nothing more, or drops what it has",
        _narrow("little memory", "maxmemory", "1mb"),
    ),
    Fault(
        "redis failover",
        "the primary stands still, and the replica takes over without the last second; then it wakes up",
        fail_over,
        often=2,
    ),
)
