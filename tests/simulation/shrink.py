"""Makes a failing plan small: leaves out faults, robots and time as long as the same rule stays broken.

Every part of a plan has its own dice, so what is left behaves much as it did before.
"""

from collections.abc import Iterator
from typing import TypeVar

from msgspec import structs

from tests.simulation.plan import Plan
from tests.simulation.world import run

T = TypeVar("T")
RUNS_MAX = 400


def shrunk(plan: Plan) -> Plan:
    """Return a smaller plan that breaks the same rule, or the same plan if it breaks none."""
    findings = run(plan).findings
    if not findings:
        return plan
    rule, runs = findings[0].rule, 0
    smaller: Plan | None = plan
    while smaller is not None and runs < RUNS_MAX:
        plan, smaller = smaller, None
        for candidate in _candidates(plan):
            runs += 1
            if any(finding.rule == rule for finding in run(candidate).findings):
                smaller = candidate
                break
    return plan


def _candidates(plan: Plan) -> Iterator[Plan]:
    """Yield plans with something left out, much first."""
    half = len(plan.faults) // 2
    if half:
        yield structs.replace(plan, faults=plan.faults[:half])
        yield structs.replace(plan, faults=plan.faults[half:])
    for index in range(len(plan.clients) if len(plan.clients) > 1 else 0):
        yield structs.replace(plan, clients=_without(plan.clients, index))
    for index in range(len(plan.faults)):
        yield structs.replace(plan, faults=_without(plan.faults, index))
    if plan.talk_s > 0.5:
        for part in (0.5, 0.8):
            sooner = tuple(fault for fault in plan.faults if fault.at_s < plan.talk_s * part)
            yield structs.replace(plan, talk_s=plan.talk_s * part, faults=sooner)
    for index, client in enumerate(plan.clients):
        for calm in (
            structs.replace(client, boldness=0.0),
            structs.replace(client, burst=1),
            structs.replace(client, rate=0.01),
            structs.replace(client, read_s=0.0),
        ):
            if calm != client:
                yield structs.replace(
                    plan, clients=(*plan.clients[:index], calm, *plan.clients[index + 1 :])
                )


def _without(items: tuple[T, ...], index: int) -> tuple[T, ...]:
    return items[:index] + items[index + 1 :]
