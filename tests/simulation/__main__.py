"""Run simulated worlds from the command line: `python -m tests.simulation --seeds 2000`."""

import argparse
import sys
import time
from collections import Counter
from contextlib import nullcontext

from tests.simulation import coverage
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import make_plan
from tests.simulation.shrink import shrunk
from tests.simulation.world import Result, first_finding, run


def main() -> int:
    """Run the seeds asked for; return 1 if a promise was broken."""
    asked = _arguments()
    if asked.mutants:
        return _hunt(asked)
    with MUTANTS[asked.mutant].applied() if asked.mutant else nullcontext():
        return _one(asked) if asked.seed is not None else _many(asked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument(
        "--shrink", action="store_true", help="leave out what the finding does not need"
    )
    parser.add_argument("--verbose", action="store_true", help="tell all that happens")
    parser.add_argument("--digests", action="store_true", help="print each seed's digest")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="with this mistake built in")
    parser.add_argument("--mutants", action="store_true", help="look for each mistake in turn")
    return parser.parse_args()


def _one(asked: argparse.Namespace) -> int:
    plan = make_plan(asked.seed)
    if asked.shrink:
        plan = shrunk(plan)
        print(plan)
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
        if asked.digests:
            print(seed, result.digest)
        if result.findings:
            broken += 1
            _tell(result)
            print(f"  again: python -m tests.simulation --seed {seed} --verbose [--shrink]")
    if asked.digests:
        return 0
    took_s = time.monotonic() - began_s
    print(f"{asked.seeds} seeds in {took_s:.1f} s, {asked.seeds / took_s:.1f} a second")
    for line in coverage.table(counts):
        print(line)
    print(f"{broken} seeds broke a promise" if broken else "no promise was broken")
    return 1 if broken else 0


def _hunt(asked: argparse.Namespace) -> int:
    """Run seeds with each mutant until one is found out."""
    alive = 0
    for name, mutant in MUTANTS.items():
        with mutant.applied():
            seeds = range(asked.first, asked.first + asked.seeds)
            found = first_finding(seeds, rule=mutant.breaks)
        alive += found is None
        told = "NOT FOUND"
        if found is not None:
            broken = [f for f in found.findings if f.rule.startswith(mutant.breaks)]
            told = f"seed {found.plan.seed}: {broken[0]}"
        print(f"{name}: {mutant.story}\n  {told[:300]}", flush=True)
    return 1 if alive else 0


def _tell(result: Result) -> None:
    print(result.plan.describe())
    for finding in result.findings:
        print(f"  BROKEN {finding}")


if __name__ == "__main__":
    sys.exit(main())
