"""Faults of the network: what the proxy spoils, and what the kernel drops."""

import asyncio
import random
from collections.abc import Callable

from tests.chaos.fault import Fault, Strike
from tests.chaos.proxy import CALM, Weather
from tests.chaos.world import World

RESUME_LIMIT_S = 8.0
"""A robot needs up to twice its ping interval (2 s) to see that a connection is dead, and its backoff."""


def _weather(
    name: str, draw: Callable[[random.Random], Weather], *, most_s: float
) -> Strike[World]:
    async def strike(world: World, dice: random.Random) -> None:
        weather, for_s = draw(dice), dice.uniform(most_s / 4, most_s)
        world.fault(name, for_s=round(for_s, 2), weather=_shown(weather))
        world.proxy.change(weather)
        await asyncio.sleep(for_s)
        world.proxy.change(CALM)
        world.healed(name, limit_s=RESUME_LIMIT_S)
        await world.expect_running(name)

    return strike


async def reset_all(world: World, dice: random.Random) -> None:
    times = dice.randint(1, 4)
    world.fault("reset all", times=times)
    for _ in range(times):
        world.proxy.reset_all()
        await asyncio.sleep(dice.uniform(0.0, 0.5))
    world.healed("reset all", limit_s=RESUME_LIMIT_S)
    await world.expect_running("reset all")


def _cut(dice: random.Random) -> Weather:
    return Weather(cut_after=dice.choice([200, 3_000, 60_000]))


def _half_close(dice: random.Random) -> Weather:
    return Weather(half_close_after=dice.choice([1_000, 30_000]))


def _stall(dice: random.Random) -> Weather:
    ways = dice.choice([{"up"}, {"down"}, {"up", "down"}])
    return Weather(stalled=frozenset(ways))


def _dribble(_dice: random.Random) -> Weather:
    return Weather(one_byte=True)


def _delay(dice: random.Random) -> Weather:
    return Weather(delay_s=dice.choice([0.02, 0.2, 0.8]))


def _slow_line(_dice: random.Random) -> Weather:
    return Weather(bytes_per_s=8_000)


def _refuse(_dice: random.Random) -> Weather:
    return Weather(refuses=True, cut_after=2_000)


def _shown(weather: Weather) -> dict[str, object]:
    return {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in vars(weather).items()
        if value != getattr(CALM, name)
    }


FAULTS = (
    Fault("reset all", "every connection is reset at once, a few times", reset_all, often=2),
    Fault(
        "cut at a byte",
        "each connection is reset (SO_LINGER 0) at a random byte",
        _weather("cut at a byte", _cut, most_s=4.0),
        often=2,
    ),
    Fault(
        "half close",
        "one direction is closed in good order at a random byte, the other stays open",
        _weather("half close", _half_close, most_s=4.0),
    ),
    Fault(
        "stall",
        "nothing passes, one way or both, and no connection ends",
        _weather("stall", _stall, most_s=7.0),
    ),
    Fault(
        "one byte at a time",
        "each byte is a segment of its own",
        _weather("one byte at a time", _dribble, most_s=3.0),
    ),
    Fault(
        "delay",
        "each chunk waits, up to 0.8 s",
        _weather("delay", _delay, most_s=4.0),
    ),
    Fault(
        "refuse",
        "new connections are closed at once, and old ones are cut",
        _weather("refuse", _refuse, most_s=3.0),
    ),
    Fault(
        "slow line",
        "64 kbit a second, each way of each connection",
        _weather("slow line", _slow_line, most_s=8.0),
    ),
)
