"""The results as Markdown: for each scenario a table of its peers, and what was to be shown."""

from collections.abc import Iterator, Sequence
from typing import Final

from bench.claims import NOT_RUN, Verdict, judged
from bench.figures import BY_KEY, doubts_of
from bench.peers import ALL as PEERS
from bench.results import Results, Spread
from bench.scenario import Scenario
from bench.scenarios import ALL as SCENARIOS

_DOUBTS_SHOWN: Final = 4


def report(results: Results, skipped: Sequence[str]) -> str:
    """Return the whole report. ``skipped``: which servers were left out, and why."""
    return "\n".join(_lines(results, skipped)) + "\n"


def _lines(results: Results, skipped: Sequence[str]) -> Iterator[str]:
    yield "# The bench's report"
    yield ""
    yield from (f"**Left out: {reason}.**\n" for reason in skipped)
    yield "Medians over the rounds that count, least and most in brackets; each peer in the same bench,"
    yield "its rounds interleaved with the others'. CPU is that of all the server's processes."
    yield from _claims(judged(results))
    section = ""
    for scenario in SCENARIOS:
        if scenario.name not in results.scenarios():
            continue
        if scenario.section != section:
            section = scenario.section
            yield from ("", f"## {section}")
        yield from _scenario(results, scenario)
    yield from ("", "## Machine, versions and settings", "")
    for name, values in results.facts.items():
        yield f"- **{name}**: " + "; ".join(f"{key} {value}" for key, value in values.items())


def _claims(verdicts: Sequence[Verdict]) -> Iterator[str]:
    if not verdicts:
        return
    yield from ("", "## What was to be shown", "", "| | claim | found |", "| --- | --- | --- |")
    marks = {True: "holds", False: "**short**", None: "?"}
    measured = [one for one in verdicts if one.found != NOT_RUN]
    yield from (f"| {marks[one.holds]} | {one.claim} | {one.found} |" for one in measured)
    if len(measured) < len(verdicts):
        yield from (
            "",
            f"{len(verdicts) - len(measured)} more need servers that were not measured.",
        )


def _scenario(results: Results, scenario: Scenario) -> Iterator[str]:
    yield from ("", f"### {scenario.title}", "", f"`{scenario.name}`", "")
    keys = [key for key in scenario.headline if key in BY_KEY]
    yield "| | " + " | ".join(BY_KEY[key].unit for key in keys) + " | generator | |"
    yield "| --- |" + " --- |" * (len(keys) + 2)
    present = {run.peer for run in results.runs(scenario.name)}
    for peer in (peer.name for peer in PEERS if peer.name in present):
        cells = [_cell(results.spread(scenario.name, peer, key)) for key in keys]
        share = results.spread(scenario.name, peer, "generator_core")
        generator = f"{share.median:.0f} %" if share else ""
        yield (
            f"| {peer} | "
            + " | ".join(cells)
            + f" | {generator} | {_remarks(results, scenario, peer)} |"
        )
    yield from _curves(results, scenario)
    doubts = [
        f"round {run.round} of {run.peer}: {doubt}"
        for run in results.runs(scenario.name)
        for doubt in doubts_of(run.findings)
        if not run.void
    ]
    if doubts:
        more = f"; and {len(doubts) - _DOUBTS_SHOWN} more" if len(doubts) > _DOUBTS_SHOWN else ""
        yield from ("", "Disturbed: " + "; ".join(doubts[:_DOUBTS_SHOWN]) + more + ".")


def _cell(found: Spread | None) -> str:
    if found is None:
        return "–"
    if found.least == found.most:
        return number(found.median)
    return f"{number(found.median)} ({number(found.least)} to {number(found.most)})"


def _remarks(results: Results, scenario: Scenario, peer: str) -> str:
    runs = results.runs(scenario.name, peer)
    remarks = [f"void: {_short(run.void)}" for run in runs if run.void]
    if results.is_behind(scenario.name, peer):
        remarks.insert(0, "**falls behind**")
    return "; ".join(dict.fromkeys(remarks))


def _short(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:200]


def _curves(results: Results, scenario: Scenario) -> Iterator[str]:
    for run in results.runs(scenario.name):
        if run.findings.curve and not run.void:
            yield from (
                "",
                "| events in the log | µs CPU per send | sends/s |",
                "| --- | --- | --- |",
            )
            for point in run.findings.curve:
                values = (point["events"], point["cpu_us_per_send"], point["sends_per_s"])
                yield "| " + " | ".join(number(value) for value in values) + " |"


def number(value: float) -> str:
    """Return a figure with as many digits as it deserves."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
