"""The results of all rounds as a table for people and as JSON for programs."""

import statistics
from collections.abc import Iterator, Sequence

from msgspec import Struct

from bench.scenario import Figure, Findings, Scenario


class Summary(Struct, frozen=True):
    """One figure over all rounds that count."""

    median: float
    least: float
    most: float
    reference: float | None
    ratio: float | None
    unit: str


class ScenarioReport(Struct, frozen=True):
    """One scenario over all rounds."""

    name: str
    title: str
    figures: dict[str, Summary]
    rounds: list[Findings]


def report(scenario: Scenario, rounds: list[Findings]) -> ScenarioReport:
    """Sum up the rounds of a scenario; void ones are kept, but count for nothing."""
    valid = [found.figures for found in rounds if found.void is None]
    figures = {
        figure.key: _summary(figure, [found[figure.key] for found in valid])
        for figure in scenario.figures
        if valid
    }
    return ScenarioReport(scenario.name, scenario.title, figures, rounds)


def _summary(figure: Figure, values: Sequence[float]) -> Summary:
    median = statistics.median(values)
    reference = figure.reference
    return Summary(
        median=median,
        least=min(values),
        most=max(values),
        reference=reference,
        ratio=median / reference if reference else None,
        unit=figure.unit,
    )


def table(reports: Sequence[ScenarioReport]) -> str:
    """Return the reports as plain text: median, spread, reference and ratio of every figure."""
    lines = [f"{'':44}{'median':>12}{'least':>12}{'most':>12}{'reference':>12}{'ratio':>8}"]
    for one in reports:
        lines += ["", f"{one.title}  [{one.name}]"]
        lines += [_row(summary) for summary in one.figures.values()]
        lines += _doubts(one.rounds)
    return "\n".join(lines)


def _row(summary: Summary) -> str:
    values = (summary.median, summary.least, summary.most)
    cells = "".join(f"{_number(value):>12}" for value in values)
    reference = _number(summary.reference) if summary.reference is not None else ""
    ratio = f"{summary.ratio:.2f}" if summary.ratio is not None else ""
    return f"  {summary.unit:42}{cells}{reference:>12}{ratio:>8}"


def _doubts(rounds: Sequence[Findings]) -> Iterator[str]:
    for number, found in enumerate(rounds, 1):
        if found.void is not None:
            yield f"  ! round {number} is VOID: {found.void}"
        for flag in found.flags:
            yield f"  ! round {number}: {flag}"


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
