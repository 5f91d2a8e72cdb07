"""The runs of a bench, kept as they come: one JSON line each, so that a bench that was cut short goes on."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from bench.histogram import Buckets, merged
from bench.task import Findings, Task

_RUNS: Final = "runs.jsonl"
_FACTS: Final = "facts.json"

Facts: TypeAlias = dict[str, dict[str, str]]
"""What is to be known of the machine and of each peer, by name."""


class Run(Struct, frozen=True):
    """One scenario against one peer, once.

    Attributes:
        void: why it counts for nothing; empty if it counts.
        behind: the peer did not keep up with what was offered.
    """

    scenario: str
    peer: str
    round: int
    task: Task
    findings: Findings
    figures: dict[str, float]
    behind: bool = False
    void: str = ""

    @property
    def key(self) -> tuple[str, str, int]:
        """What a later run of the same replaces."""
        return self.scenario, self.peer, self.round


class Spread(NamedTuple):
    """A figure over all rounds that count."""

    median: float
    least: float
    most: float


class Results:
    """All runs in one folder."""

    def __init__(self, folder: Path) -> None:
        """Read what is there."""
        self.folder: Final = folder
        self._runs: dict[tuple[str, str, int], Run] = {}
        path = folder / _RUNS
        if path.exists():
            decode = msgspec.json.Decoder(Run).decode
            *lines, rest = path.read_bytes().split(b"\n")
            for line in lines:
                run = decode(line)
                self._runs[run.key] = run
            if rest:  # the bench was killed while it wrote
                path.write_bytes(b"".join(line + b"\n" for line in lines))

    def add(self, run: Run) -> None:
        """Keep a run, in place of an earlier one of the same round."""
        self._runs[run.key] = run
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _RUNS).open("ab") as file:
            file.write(msgspec.json.encode(run) + b"\n")

    @property
    def facts(self) -> Facts:
        """What was measured on; nothing before the first run."""
        path = self.folder / _FACTS
        return msgspec.json.decode(path.read_bytes(), type=Facts) if path.exists() else {}

    def add_facts(self, facts: Facts) -> None:
        """Keep facts, in place of earlier ones of the same names."""
        whole = self.facts | facts
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / _FACTS
        path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1))

    def has(self, scenario: str, peer: str, number: int) -> bool:
        """Tell whether there is a run that counts."""
        run = self._runs.get((scenario, peer, number))
        return run is not None and not run.void

    def runs(self, scenario: str, peer: str | None = None) -> list[Run]:
        """Return the runs of a scenario, void ones too."""
        return [
            run
            for run in self._runs.values()
            if run.scenario == scenario and peer in {None, run.peer}
        ]

    def scenarios(self) -> set[str]:
        """Return the names of the scenarios that were run."""
        return {run.scenario for run in self._runs.values()}

    def spread(self, scenario: str, peer: str, figure: str) -> Spread | None:
        """Return a figure over the rounds that count; None if none does."""
        return spread(self.by_round(scenario, peer, figure).values())

    def by_round(self, scenario: str, peer: str, figure: str) -> dict[int, float]:
        """Return a figure of each round that counts."""
        return {
            run.round: run.figures[figure]
            for run in self.runs(scenario, peer)
            if not run.void and figure in run.figures
        }

    def is_behind(self, scenario: str, peer: str) -> bool:
        """Tell whether the peer did not keep up in most rounds."""
        runs = [run for run in self.runs(scenario, peer) if not run.void]
        return sum(run.behind for run in runs) * 2 > len(runs)

    def latencies(self, scenario: str, of: str) -> dict[str, Buckets]:
        """Return each peer's histogram of a scenario, its rounds added up."""
        found: defaultdict[str, list[Buckets]] = defaultdict(list)
        for run in self.runs(scenario):
            if not run.void and run.findings.histograms.get(of):
                found[run.peer].append(run.findings.histograms[of])
        return {peer: merged(histograms) for peer, histograms in found.items()}


def spread(values: Iterable[float]) -> Spread | None:
    """Return median, least and most; None of nothing."""
    found: Sequence[float] = list(values)
    if not found:
        return None
    return Spread(statistics.median(found), min(found), max(found))
