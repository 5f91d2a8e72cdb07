"""``make move``: move a large deployment to MongoDB and back, and tell what that takes."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.moving.large import Journey, Outcome, Plan, run

_PLAN = Plan()


def main() -> int:
    """Do it; the exit status is 1 if anything is not at home again as it was."""
    parser = argparse.ArgumentParser(prog="python -m tests.moving")
    parser.add_argument("--events", type=int, default=_PLAN.events)
    parser.add_argument("--groups", type=int, default=_PLAN.groups)
    parser.add_argument("--files", type=int, default=_PLAN.files)
    parser.add_argument("--sealed", action="store_true")
    given = parser.parse_args()
    plan = Plan(given.events, given.groups, files=given.files, sealed=given.sealed)
    with tempfile.TemporaryDirectory(prefix="imserver-move-") as folder:
        outcome = run(plan, Path(folder))
    print(_text(plan, outcome))
    return 0 if outcome.is_clean else 1


def _text(plan: Plan, outcome: Outcome) -> str:
    lines = [
        f"{plan.events} events in {plan.groups} groups, {plan.files} files"
        + (", sealed" if plan.sealed else ""),
        _way("to MongoDB", outcome.there),
        _way("and back", outcome.back),
        *outcome.flaws,
        "Moved: logs equal by digest, files as they were"
        if outcome.is_clean
        else "Moved: NOT AS IT WAS",
    ]
    return "\n".join(lines)


def _way(where: str, journey: Journey) -> str:
    return (
        f"{where}: {journey.took_s:.1f} s, {journey.cpu_s:.1f} s of CPU, at most {journey.peak_mib:.0f} MiB\n"
        f"  {journey.said}"
    )


if __name__ == "__main__":
    sys.exit(main())
