"""``python -m bench.quick``: the bench of some two minutes, against the bare prototype's figures.

Each run gets a server of its own, pinned to the first core, on an empty data directory on the disk of the
repository, and a generator of its own on the last core. Rounds are interleaved, so that a disturbance of
the machine hits all scenarios alike; the table shows medians with least and most.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from bench.accounting import wait_calm
from bench.environment import describe
from bench.report import ScenarioReport, report, table
from bench.scenario import OTHERS_SHARE_MAX, Findings, Scenario, Task
from bench.scenarios import ALL, BY_NAME
from bench.server import Place, Server, ServerFailed

ROOT: Final = Path(__file__).resolve().parent.parent
RUN_S_MAX: Final = 150.0
_FILES_MAX: Final = 20_000


class Results(Struct, frozen=True):
    """The JSON that is written: what was run, where, and what came out."""

    environment: dict[str, str]
    settings: dict[str, float]
    started: str
    scenarios: list[ScenarioReport]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return 1 if a run was void."""
    options = _parser().parse_args(arguments)
    chosen = [BY_NAME[name] for name in options.only] if options.only else list(ALL)
    _allow_many_files()
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=build) as directory:
        environment = describe(Path(directory))
        print(
            "\n".join(f"{key:12} {value}" for key, value in environment.items()), "\n", flush=True
        )
        results = Results(
            environment=environment,
            settings={
                "seconds": options.seconds,
                "rounds": options.rounds,
                "window": options.window,
            },
            started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            scenarios=_run_rounds(chosen, options, Path(directory)),
        )
    print("\n" + table(results.scenarios))
    print(f"\nwritten to {_write(results, options.json)}")
    void = any(found.void for one in results.scenarios for found in one.rounds)
    return 1 if void else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.quick", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured window of each run")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all scenarios")
    parser.add_argument("--window", type=int, default=1_024, help="window in the readers' hello")
    parser.add_argument(
        "--patience",
        type=float,
        default=2.0,
        help="seconds to wait before a run for a calm machine",
    )
    parser.add_argument(
        "--nice", type=int, default=0, help="as root, on a shared machine: -15 for both processes"
    )
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument(
        "--only", action="append", choices=sorted(BY_NAME), metavar="NAME", help="run this scenario"
    )
    return parser


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _FILES_MAX if hard == resource.RLIM_INFINITY else min(_FILES_MAX, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _run_rounds(
    chosen: list[Scenario], options: argparse.Namespace, directory: Path
) -> list[ScenarioReport]:
    found: dict[str, list[Findings]] = {scenario.name: [] for scenario in chosen}
    for number in range(1, options.rounds + 1):
        for scenario in chosen:
            print(f"round {number}/{options.rounds}  {scenario.name:18}", end="", flush=True)
            one = _run(scenario, options, directory)
            found[scenario.name].append(one)
            print(one.void or _headline(scenario, one), flush=True)
    return [report(scenario, found[scenario.name]) for scenario in chosen]


def _headline(scenario: Scenario, found: Findings) -> str:
    shown = scenario.figures[:3]
    return ", ".join(f"{found.figures[figure.key]:,.2f} {figure.unit}" for figure in shown)


def _run(scenario: Scenario, options: argparse.Namespace, parent: Path) -> Findings:
    cores = sorted(os.sched_getaffinity(0))
    if options.patience:
        wait_calm(OTHERS_SHARE_MAX, patience_s=options.patience)
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        try:
            with Server(Path(directory), place=Place(cores[0], options.nice)) as server:
                task = Task(
                    scenario=scenario.name,
                    port=server.port,
                    server_pid=server.pid,
                    data=str(server.data),
                    seconds=options.seconds,
                    window=options.window,
                )
                found = _generate(task, Place(cores[-1], options.nice))
                if found.void is not None:
                    found.void += f"; the server's log ends: {server.log_tail()!r}"
                server.stop()
        except ServerFailed as exc:
            return Findings(void=str(exc))
    if cores[0] == cores[-1]:
        found.flags.append("server and generator share the only core: the figures mean little")
    return found


def _generate(task: Task, place: Place) -> Findings:
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "bench.generator"],
            input=msgspec.json.encode(task),
            stdout=subprocess.PIPE,
            cwd=ROOT,
            timeout=RUN_S_MAX,
            check=True,
            preexec_fn=place.take,
        )
    except subprocess.TimeoutExpired:
        return Findings(void=f"the generator did not end within {RUN_S_MAX:g} s")
    except subprocess.CalledProcessError as exc:
        return Findings(void=f"the generator failed with status {exc.returncode}")
    return msgspec.json.decode(answer.stdout, type=Findings)


def _write(results: Results, path: Path | None) -> Path:
    if path is None:
        path = ROOT / "bench" / "results" / time.strftime("quick-%Y%m%d-%H%M%S.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    return path


if __name__ == "__main__":
    sys.exit(main())
