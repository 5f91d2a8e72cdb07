"""The process that plays all robots of a storm: takes orders as lines of JSON, answers with one each.

Started by `storm`. One loop, no threads; what it uses of the processor is reported with what it saw.
"""

import asyncio
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from msgspec import Struct

from imserver.core.clock import SystemClock
from imserver.core.tokens import Claims, TokenAuthority, enrolment
from imserver.data.directory import DataDirectory
from tests.pressure.storm_robot import StormRobot, Tally

ACK_INTERVAL_S: Final = 0.05
ARRIVING_AT_ONCE: Final = 32
PERCENTS: Final = (50, 99, 100)
TOKEN_TTL_MS: Final = 3_600_000


class Order(Struct, omit_defaults=True):
    """What the crowd is to do.

    Attributes:
        do: ``arrive`` one after the other, ``leave`` and stay away when the server says so or breaks,
            ``storm`` it all at once, or ``settle`` at the ``heads``.
        within_s: after that the answer tells how far it came.
    """

    do: str
    within_s: float = 0.0
    heads: dict[str, int] = {}


class Plan(Struct):
    """The first line: whom to play, and where the server is and has its key."""

    port: int
    data: str
    robots: list[str]
    seed: str


class Report(Struct):
    """What the robots saw since the storm began; of lists of times, those at `PERCENTS`.

    Attributes:
        returns: of robots that were online and are not, how many come back after so many seconds.
    """

    done: bool
    online: int
    level: int
    outcomes: dict[str, int]
    openings: dict[int, int]
    greeting_s: list[float]
    level_s: list[float]
    returns: dict[int, int]
    cpu_s: float
    broken: str | None


class Crowd:
    """The robots, and the orders that they obey."""

    def __init__(self, plan: Plan) -> None:
        authority = TokenAuthority(DataDirectory(Path(plan.data)).signing_key())
        self._tally = Tally(plan.port, random.Random(plan.seed))
        self._robots = [
            StormRobot(self._tally, name, token=authority.mint(_claims(name)))
            for name in plan.robots
        ]
        self._ack()

    async def obey(self, order: Order) -> Report:
        """Carry out an order and report."""
        cpu_s = time.process_time()
        tally, everybody = self._tally, len(self._robots)
        match order.do:
            case "arrive":
                done = await self._arrive(order.within_s)
            case "leave":
                tally.may_connect = False
                done = await _until(lambda: tally.online == 0, order.within_s)
            case "storm":
                tally.may_connect = True
                tally.begin()
                for robot in self._robots:
                    robot.come()
                done = await _until(lambda: len(tally.levels_s) >= everybody, order.within_s)
            case "settle":
                heads = order.heads
                done = await _until(lambda: self._has(heads), order.within_s)
            case _:
                raise ValueError(f"no order is called {order.do!r}")
        return self._report(done=done, cpu_s=time.process_time() - cpu_s)

    async def _arrive(self, within_s: float) -> bool:
        tally = self._tally
        for number, robot in enumerate(self._robots, 1):
            robot.come()
            least = number - ARRIVING_AT_ONCE
            if not await _until(lambda least=least: tally.online >= least, within_s):  # type: ignore[misc]
                return False
        return await _until(lambda: tally.online == len(self._robots), within_s)

    def _has(self, heads: dict[str, int]) -> bool:
        return all(
            robot.places[conv] >= heads[conv] for robot in self._robots for conv in robot.places
        )

    def _ack(self) -> None:
        unacked, self._tally.unacked = self._tally.unacked, {}
        for robot in unacked:
            robot.flush_acks()
        self._tally.loop.call_later(ACK_INTERVAL_S, self._ack)

    def _report(self, *, done: bool, cpu_s: float) -> Report:
        tally = self._tally
        levels_s, greetings_s = sorted(tally.levels_s), sorted(tally.greetings_s)
        return Report(
            done=done,
            online=tally.online,
            level=len(tally.levels_s),
            outcomes=dict(tally.outcomes),
            openings=dict(tally.openings),
            greeting_s=[at(greetings_s, percent) for percent in PERCENTS],
            level_s=[at(levels_s, percent) for percent in PERCENTS],
            returns=dict(Counter(int(wait_s) for wait_s in tally.waits_s)),
            cpu_s=cpu_s,
            broken=tally.broken,
        )


def at(ordered: Sequence[float], percent: float) -> float:
    """Return the value that ``percent`` of all are no longer than; 0 if there are none."""
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] if ordered else 0.0


def _claims(robot: str) -> Claims:
    now_ms = SystemClock().now_ms()
    return enrolment(robot, token_id=secrets.token_hex(16), now_ms=now_ms, ttl_ms=TOKEN_TTL_MS)


async def _until(condition: Callable[[], bool], within_s: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while not condition():
        if loop.time() > deadline_s:
            return False
        await asyncio.sleep(0.005)
    return True


async def _main() -> None:
    loop = asyncio.get_running_loop()
    crowd: Crowd | None = None
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        if crowd is None:
            crowd = Crowd(msgspec.json.decode(line, type=Plan))
            answer = b"{}"
        else:
            answer = msgspec.json.encode(await crowd.obey(msgspec.json.decode(line, type=Order)))
        sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_main())
