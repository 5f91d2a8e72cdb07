"""Fuzz everything that reads bytes from outside.

usage: python -m tests.fuzz [--inputs 10000000] [--seed 0] [--target NAME] [--processes 1]

Each target gets its share of the inputs, in a process of its own, so that their memory can be told apart.
Exit status 1 if anything was found.
"""

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.fuzz.parts import run_part
from tests.fuzz.report import table
from tests.fuzz.targets import TARGETS


def main(arguments: list[str]) -> int:
    """Run the targets that were asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=10_000_000, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=sorted(TARGETS), help="this one alone")
    parser.add_argument("--processes", type=int, default=1, help="targets fuzzed at a time")
    asked = parser.parse_args(arguments)
    names = [asked.target] if asked.target else list(TARGETS)
    whole = sum(TARGETS[name].share for name in names)
    print(f"seed {asked.seed}, {asked.inputs:,} inputs", flush=True)
    with ProcessPoolExecutor(
        asked.processes, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as processes:
        parts = [
            processes.submit(
                run_part, name, asked.inputs * TARGETS[name].share // whole, asked.seed
            )
            for name in names
        ]
        accounts = [part.result() for part in parts]
    print(table(accounts))
    return 0 if all(account.is_clean for account in accounts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
