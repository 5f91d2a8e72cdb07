"""Who breaks things: a schedule that is drawn from a seed before the run, and carried out one after
another."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.chaos.fault import Fault, S

PAUSE_S = 1.5
_ROUNDS_MAX = 100


class Step(Struct, frozen=True):
    """A fault of the schedule: which, and how long the load runs before it. Its dice are seeded by number."""

    number: int
    fault: str
    pause_s: float


def possible(
    known: Sequence[Fault[S]], wanted: frozenset[str], abilities: dict[str, str | None]
) -> tuple[list[Fault[S]], dict[str, str]]:
    """Return the faults that this machine can do, and for each other one why not."""
    faults, skipped = [], {}
    for fault in known:
        if wanted and fault.name not in wanted:
            continue
        missing = [reason for need in fault.needs if (reason := abilities[need]) is not None]
        if missing:
            skipped[fault.name] = "; ".join(missing)
        else:
            faults.append(fault)
    return faults, skipped


def draw_schedule(seed: str, faults: Sequence[Fault[S]]) -> list[Step]:
    """Return more steps than any run gets to: rounds in which each fault comes as often as it says."""
    dice = random.Random(f"{seed} schedule")
    steps: list[Step] = []
    for _ in range(_ROUNDS_MAX):
        deck = [fault.name for fault in faults for _ in range(fault.often)]
        dice.shuffle(deck)
        steps += [
            Step(len(steps) + at, name, round(dice.uniform(0.0, PAUSE_S), 3))
            for at, name in enumerate(deck)
        ]
    return steps


def in_order(seed: str, names: list[str]) -> list[Step]:
    """Return the steps of a run in which each fault comes once."""
    dice = random.Random(f"{seed} schedule")
    return [Step(at, name, round(dice.uniform(0.0, PAUSE_S), 3)) for at, name in enumerate(names)]


def write_schedule(path: Path, steps: list[Step]) -> None:
    """Write a schedule down."""
    path.write_bytes(b"\n".join(msgspec.json.encode(step) for step in steps) + b"\n")


async def carry_out(
    scene: S, faults: Sequence[Fault[S]], seed: str, steps: list[Step], *, until_s: float
) -> int:
    """Carry out the steps until a time of the monotonic clock; return how many were."""
    strikes = {fault.name: fault.strike for fault in faults}
    for step in steps:
        await asyncio.sleep(min(step.pause_s, max(0.0, until_s - time.monotonic())))
        if time.monotonic() >= until_s:
            return step.number
        try:
            await strikes[step.fault](scene, random.Random(f"{seed} {step.number}"))
        except Exception as problem:  # noqa: BLE001 - it spoils the verdict, and not the rest of the run
            scene.finding(step.fault, f"the fault could not be carried out: {problem!r}")
            await scene.expect_running(step.fault)
        await scene.expect_going(step.fault)
    return len(steps)
