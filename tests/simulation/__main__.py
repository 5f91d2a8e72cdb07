"""Run simulated worlds from the command line: `python -m tests.simulation --seeds 2000`."""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.plan import make_plan
from tests.simulation.world import Result, run


def main() -> int:
    """Run the seeds asked for; return 1 if a promise was broken."""
    asked = _arguments()
    if asked.seed is not None:
        return _one(asked)
    return _many(asked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--verbose", action="store_true", help="tell all that happens")
    return parser.parse_args()


def _one(asked: argparse.Namespace) -> int:
    plan = make_plan(asked.seed)
    print(plan.describe())
    result = run(plan, verbose=asked.verbose)
    for line in result.trace.lines:
        print(line)
    _tell(result)
    for what, count in sorted(result.trace.counts.items()):
        print(f"  {count:>9,}  {what}")
    print(f"digest {result.digest}")
    return 1 if result.findings else 0


def _many(asked: argparse.Namespace) -> int:
    counts: Counter[str] = Counter()
    broken = 0
    began_s = time.monotonic()
    for seed in range(asked.first, asked.first + asked.seeds):
        result = run(make_plan(seed))
        counts.update(result.trace.counts)
        if result.findings:
            broken += 1
            print(result.plan.describe())
            _tell(result)
    took_s = time.monotonic() - began_s
    print(f"{asked.seeds} seeds in {took_s:.1f} s, {asked.seeds / took_s:.1f} a second")
    for what, count in sorted(counts.items()):
        print(f"  {count:>12,}  {what}")
    print(f"{broken} seeds broke a promise" if broken else "no promise was broken")
    return 1 if broken else 0


def _tell(result: Result) -> None:
    for finding in result.findings:
        print(f"  BROKEN {finding}")


if __name__ == "__main__":
    sys.exit(main())
