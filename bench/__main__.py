"""``python -m bench``: imserver and its peers side by side, as ``imserver bench`` and ``make bench`` run it.

Each run gets a server of its own, pinned to the first core, on an empty data directory on the disk of the
repository, and the load generator on the last core. Rounds and peers are interleaved, so that a disturbance
of the machine hits all alike. Runs are kept as they come: a bench that was cut short goes on with ``--into``.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import generator, plots
from bench.accounting import wait_calm
from bench.environment import describe
from bench.figures import BY_KEY, OTHERS_SHARE_MAX
from bench.peers import BY_NAME as PEERS
from bench.peers import program
from bench.peers.peer import Peer
from bench.report import number, report
from bench.results import Results, Run
from bench.runner import Runner, allow_many_files
from bench.scenario import Scenario, Set
from bench.scenarios import ALL as SCENARIOS
from bench.scenarios import BY_NAME

RESULTS: Final = program.ROOT / "bench" / "results"
_CUT_SHORT: Final = 130
_TRIES: Final = 2
_LONG_RUN_S: Final = 30.0
"""A void run that took longer is not tried again."""
_ROUNDS: Final = {Set.QUICK: 1, Set.STANDARD: 3, Set.FULL: 3, Set.CLUSTER: 2}


class Turn(NamedTuple):
    """A run that is to come."""

    scenario: Scenario
    peer: Peer
    round: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return 1 if one of our own runs was void, 2 if there is no load generator, 130 if it was
    cut short, after a report of what there is."""
    options = _parser().parse_args(arguments)
    if options.list:
        return _list()
    if fault := generator.build():
        print(f"imserver bench: {fault}", file=sys.stderr)
        return 2
    console = Console(highlight=False, soft_wrap=True)
    chosen = [BY_NAME[name] for name in options.only] if options.only else list(SCENARIOS)
    absent = {name: reason for name, peer in PEERS.items() if (reason := peer.missing())}
    turns = list(_turns(options, chosen, absent))
    skipped = sorted({absent[name] for name in absent if name in _wanted(options, chosen)})
    for reason in skipped:
        console.print(f"[bold red]LEFT OUT[/]: {reason}")
    results = Results(options.into or RESULTS / time.strftime(f"{options.set}-%Y%m%d-%H%M%S"))
    if not options.again:
        turns = [t for t in turns if not results.has(t.scenario.name, t.peer.name, t.round)]
    try:
        _run_all(turns, results, options, console)
    except KeyboardInterrupt:
        console.print(f"[bold red]CUT SHORT[/]: --into {results.folder} goes on")
        return _CUT_SHORT
    finally:
        _write(results, skipped, console)
    void = [
        run for turn in turns for run in results.runs(turn.scenario.name, "imserver") if run.void
    ]
    return 1 if void else 0


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as every command does."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="imserver bench", description=__doc__)
    parser.add_argument(
        "--set", choices=[*map(str, Set)], default="standard", help="how much is run"
    )
    parser.add_argument("--only", action="append", choices=sorted(BY_NAME), metavar="SCENARIO")
    parser.add_argument("--peer", action="append", choices=sorted(PEERS), metavar="PEER")
    parser.add_argument("--rounds", type=int, help="rounds over everything (quick 1, others 3)")
    parser.add_argument("--seconds", type=float, help="another length for every measured window")
    parser.add_argument("--into", type=Path, help="folder of results to go on with")
    parser.add_argument("--again", action="store_true", help="also run what that folder has")
    parser.add_argument(
        "--patience",
        type=float,
        default=2.0,
        help="seconds to wait before a run for a calm machine",
    )
    parser.add_argument(
        "--nice", type=int, default=0, help="as root, on a shared machine: -15 to go before others"
    )
    parser.add_argument("--list", action="store_true", help="list scenarios and peers, run nothing")
    return parser


def _list() -> int:
    for scenario in SCENARIOS:
        print(f"{scenario.name:28}{scenario.title}")
    for name, peer in PEERS.items():
        reason = peer.missing()
        print(f"{name:28}{f'MISSING: {reason}' if reason else peer.version()}")
    return 0


def _peers_of(scenario: Scenario, options: argparse.Namespace) -> tuple[str, ...]:
    peers = scenario.peers_in(Set(options.set))
    if options.only and not peers:
        peers = scenario.peers or scenario.standard or scenario.quick or scenario.cluster
    return tuple(peer for peer in peers if not options.peer or peer in options.peer)


def _wanted(options: argparse.Namespace, chosen: Sequence[Scenario]) -> set[str]:
    return {peer for scenario in chosen for peer in _peers_of(scenario, options)}


def _turns(
    options: argparse.Namespace, chosen: Sequence[Scenario], absent: dict[str, str]
) -> Iterator[Turn]:
    rounds = options.rounds or _ROUNDS[Set(options.set)]
    for number_ in range(1, rounds + 1):
        for scenario in chosen:
            if number_ > scenario.rounds_max:
                continue
            peers = [name for name in _peers_of(scenario, options) if name not in absent]
            random.Random(f"{scenario.name} {number_}").shuffle(peers)
            yield from (Turn(scenario, PEERS[name], number_) for name in peers)


def _run_all(
    turns: Sequence[Turn], results: Results, options: argparse.Namespace, console: Console
) -> None:
    allow_many_files()
    build = program.ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=build) as directory:
        facts = {"machine": describe(Path(directory))}
        for peer in {turn.peer.name: turn.peer for turn in turns}.values():
            facts[peer.name] = {"version": peer.version(), **peer.settings()}
        results.add_facts(facts)
        runner = Runner(Path(directory), nice=options.nice, seconds=options.seconds)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("bench", total=len(turns))
            for turn in turns:
                progress.update(bar, description=f"{turn.scenario.name}, {turn.peer.name}")
                for run in tried(turn, runner, patience_s=options.patience):
                    results.add(run)
                    progress.console.print(_line(turn, run))
                progress.advance(bar)


def tried(turn: Turn, runner: Runner, *, patience_s: float) -> Iterator[Run]:
    """Run a turn, and once more if it was void: most often others had disturbed it."""
    for _ in range(_TRIES):
        wait_calm(OTHERS_SHARE_MAX, patience_s=patience_s)
        began_s = time.monotonic()
        run = runner.run(turn.scenario, turn.peer, turn.round)
        yield run
        if not run.void or time.monotonic() - began_s > _LONG_RUN_S:
            return


def _line(turn: Turn, run: Run) -> str:
    head = f"{turn.round}  {turn.scenario.name:24} {turn.peer.name:28}"
    if run.void:
        return f"{head} VOID: {' '.join(run.void.split())[:160]}"
    keys = [key for key in turn.scenario.headline[:4] if key in run.figures]
    shown = ", ".join(f"{number(run.figures[key])} {BY_KEY[key].unit}" for key in keys)
    return f"{head} {shown}" + (" (falls behind)" if run.behind else "")


def _write(results: Results, skipped: list[str], console: Console) -> None:
    results.folder.mkdir(parents=True, exist_ok=True)
    (results.folder / "report.md").write_text(report(results, skipped))
    drawn = plots.draw(results)
    console.print(f"\n{results.folder}/report.md, runs.jsonl, facts.json and {len(drawn)} plots")


if __name__ == "__main__":
    sys.exit(main())
