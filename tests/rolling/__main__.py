"""``make roll``: restart all nodes of a cluster under load, some times, and tell what became of the sends."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.rolling.roll import Outcome, Plan, run

_PLAN = Plan()


def main() -> int:
    """Do it; the exit status is 1 if a send failed or the judge found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.rolling")
    parser.add_argument("--rounds", type=int, default=_PLAN.rounds)
    parser.add_argument("--robots", type=int, default=_PLAN.robots)
    parser.add_argument("--rate", type=float, default=_PLAN.rate)
    given = parser.parse_args()
    plan = Plan(robots=given.robots, rate=given.rate, rounds=given.rounds)
    with tempfile.TemporaryDirectory(prefix="imserver-roll-") as folder:
        outcome = run(plan, Path(folder))
    print(_text(outcome))
    return 0 if outcome.is_clean else 1


def _text(outcome: Outcome) -> str:
    drains = [restart.drained_s for restart in outcome.restarts]
    starts = [restart.started_s for restart in outcome.restarts]
    lines = [
        (
            f"{len(drains)} restarts of {len(outcome.restarts) // outcome.plan.rounds} nodes in "
            f"{outcome.took_s:.0f} s; a node ended in {_range(drains)}, was ready again in {_range(starts)}"
        ),
        (
            f"{outcome.acked} sends stored, {len(outcome.failures)} failed; {outcome.resent} were sent "
            f"again; the longest took {outcome.longest_s:.2f} s"
        ),
        f"{outcome.plan.robots} robots connected {outcome.connections} times",
        *outcome.failures[:20],
        outcome.verified.to_text() if outcome.verified is not None else "not judged",
        "Rolled: clean" if outcome.is_clean else "Rolled: NOT AS PROMISED",
    ]
    return "\n".join(lines)


def _range(seconds: list[float]) -> str:
    return f"{min(seconds):.1f} to {max(seconds):.1f} s"


if __name__ == "__main__":
    sys.exit(main())
