"""A run from its beginning to its verdict.

Robots come online and make their groups; the nemesis breaks things while they talk; then everything is
healed, every unknown send is asked for again until it has an outcome, and every member reads its logs to
the end. The servers are told to end, and what all robots wrote down is judged against the store, by two
judges.
"""

import asyncio
import math
import time
from pathlib import Path

from msgspec import Struct

from imserver.verify import Report as Verified
from imserver.verify import verify
from tests.chaos import nemesis
from tests.chaos.fault import S
from tests.chaos.journal import Journal
from tests.chaos.orders import Report
from tests.chaos.plan import Plan
from tests.chaos.scene import Scene, Silence
from tests.chaos.second_opinion import Ack, Judge, Opinion, read_histories
from tests.chaos.setting import Setting

SETTLE_MARGIN_S = 30.0
START_LIMIT_S = 90.0


class Outcome(Struct):
    """What came of a run."""

    plan: Plan
    report: Report
    opinion: Opinion
    verified: Verified
    skipped: dict[str, str]
    steps: int
    acks: list[Ack]
    shown: dict[str, list[float]]
    lines: frozenset[str]
    starts: int
    silences: list[Silence]
    took_s: float

    @property
    def is_clean(self) -> bool:
        """Whether both judges found nothing."""
        return self.opinion.is_clean and self.verified.clean


async def run(setting: Setting[S], plan: Plan, journal: Journal) -> Outcome:
    """Carry out a plan; what was made on the machine for it is gone afterwards, however it ends."""
    began_s = time.monotonic()
    able = setting.abilities()
    faults, skipped = nemesis.possible(setting.faults, frozenset(plan.faults), able)
    for name, reason in skipped.items():
        journal.note("skipped", name, f"SKIPPED: {reason}")
    steps = nemesis.draw_schedule(plan.seed, faults)
    if plan.once:
        steps = nemesis.in_order(plan.seed, [name for name in plan.faults if name not in skipped])
    nemesis.write_schedule(Path(plan.folder) / "schedule.jsonl", steps)
    async with setting.scene(plan, journal, able) as scene:
        await _gather(scene)
        until_s = math.inf if plan.once else time.monotonic() + plan.seconds
        done = await nemesis.carry_out(scene, faults, plan.seed, steps, until_s=until_s)
        await _settle(scene, scene.allowed_s(plan.patience_s + SETTLE_MARGIN_S))
        report = scene.fleet.total()
        await _end(scene)
        judge, opinion, verified = await asyncio.to_thread(_judge, scene)
    return Outcome(
        plan=plan,
        report=report,
        opinion=opinion,
        verified=verified,
        skipped=skipped,
        steps=done,
        acks=judge.acks,
        shown=judge.shown,
        lines=scene.lines,
        starts=scene.starts(),
        silences=scene.silences,
        took_s=time.monotonic() - began_s,
    )


async def _gather(scene: Scene) -> None:
    for phase in ("connect", "create", "send"):
        await scene.fleet.enter(phase, within_s=scene.allowed_s(START_LIMIT_S))
        problems = scene.fleet.total().problems
        if problems:
            raise RuntimeError(f"the robots could not {phase}: {problems[:3]}")
    if not await scene.fleet.wait_acks(1, within_s=scene.allowed_s(START_LIMIT_S)):
        raise TimeoutError(f"nothing was acked in the first {START_LIMIT_S:g} s")


async def _settle(scene: Scene, within_s: float) -> None:
    """Heal everything, resolve everything, drain everything."""
    await scene.heal()
    for phase in ("settle", "drain"):
        try:
            await scene.fleet.enter(phase, within_s=within_s)
        except TimeoutError:
            scene.finding("the end", f"the robots could not {phase} in {within_s:g} s")
    for problem in scene.fleet.total().problems:
        scene.finding("the robots", problem)


async def _end(scene: Scene) -> None:
    await scene.fleet.end()
    for client in scene.fleet.clients:
        if client.errors():
            scene.finding("the robots", client.errors()[-2_000:])
    await scene.end()


def _judge(scene: Scene) -> tuple[Judge, Opinion, Verified]:
    histories = scene.folder / "histories"
    judge = read_histories(sorted(histories.glob("*.jsonl")))
    opinion = judge.judge(scene.raw_store())
    for witness in opinion.witnesses:
        scene.finding("second opinion", witness)
    verified = verify([histories], scene.raw_logs())
    if not verified.clean:
        scene.finding("imserver verify", verified.to_text()[-4_000:])
    return judge, opinion, verified
