"""The report of a run: a page that a person can read, the same in Markdown, and JSON for programs."""

import html
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import msgspec

from tests.chaos.summary import FaultRow, GuaranteeRow, Happening, Summary

_UNKNOWN = "–"
_TEXT_CHARS = 300
_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c2430 }
h1 { margin-bottom: 0 } .ok { color: #116329 } .bad { color: #b3261e }
table { border-collapse: collapse; width: 100% }
td, th { padding: .3rem .6rem; border-bottom: 1px solid #d8dee6; text-align: left; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 2.2rem; margin: 1rem 0 }
.figures b { font-size: 1.5rem; display: block }
pre { background: #f4f6f9; padding: 1rem; overflow-x: auto; white-space: pre-wrap }
svg { width: 100%; height: 160px; background: #f4f6f9 }
"""


def write_report(folder: Path, summary: Summary) -> None:
    """Write ``report.html``, ``report.md`` and ``report.json`` into a folder."""
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary)))
    (folder / "report.md").write_text("\n".join(_markdown(summary)) + "\n", encoding="utf-8")
    (folder / "report.html").write_text("\n".join(_page(summary)) + "\n", encoding="utf-8")


_GOING_ON = (
    "from a fault until every robot and conversation had an ack, and every robot was shown an event"
)


def _figures(summary: Summary) -> list[tuple[str, str]]:
    figures = [
        (f"{summary.acked:,}", "sends acked"),
        (f"{summary.let_go:,}", "of them let go since, by the rules of short groups"),
        (f"{summary.changed:,}", "changes of groups"),
        (f"{summary.received:,}", "events shown to robots"),
        (f"{summary.lost}", "lost"),
        (f"{summary.doubled}", "doubled"),
        (f"{summary.reordered}", "reordered"),
        (f"{summary.gaps}", "gaps in a log"),
        (f"{summary.gaps_told:,}", "times told of what retention took"),
        (f"{summary.undelivered}", "logs not read to their end"),
        (f"{summary.unresolved}", "sends without an outcome"),
        *((f"{count}", what) for what, count in summary.harm.items()),
        (f"{summary.server_starts}", "starts of servers"),
        (f"{summary.reconnects:,}", "reconnects"),
        (_seconds(summary.recovery_median_s), "from a start to the first ack, median"),
        (_seconds(summary.recovery_p99_s), "the same, 99 of 100"),
        (_seconds(summary.recovery_worst_s), "the same, worst"),
        (
            _seconds(summary.recovery_worst_run_s),
            "worst, but for the time that the start stood in line for a processor (limit 5 s)",
        ),
        (_seconds(summary.going_on_p99_s), f"{_GOING_ON}, 99 of 100 faults"),
        (_seconds(summary.going_on_worst_s), "the same, worst"),
    ]
    return [(figure, what) for figure, what in figures if figure != _UNKNOWN]


def _opening(summary: Summary) -> str:
    return (
        f"{summary.robots} robots in {summary.groups} groups for {summary.seconds:g} s; seed "
        f"{summary.seed}; the whole run took {summary.took_s:g} s. The schedule of faults is in "
        "schedule.jsonl, what happened in journal.jsonl."
    )


def _row(row: FaultRow) -> list[str]:
    count = "SKIPPED" if row.skipped else str(row.count)
    says = f"{row.says} SKIPPED: {row.skipped}" if row.skipped else row.says
    worst = _seconds(row.recovery_worst_s)
    if row.limit_s is not None:
        worst += f" of {row.limit_s:g} s"
    usual = (_seconds(row.recovery_median_s), _seconds(row.recovery_p99_s))
    return [row.name, says, count, *usual, worst, str(row.findings)]


_HEADS = ["fault", "what happens", "times", "median to ack", "p99", "worst to ack", "findings"]


def _verdict(row: GuaranteeRow) -> list[str]:
    verdict = (
        f"kept, {row.judged:,} {row.counted}" if row.judged else f"not judged: needs {row.needs}"
    )
    if row.violations:
        verdict = f"BROKEN {row.violations:,} times in {row.judged:,} {row.counted}"
    return [row.name, row.says, verdict]


_VERDICT_HEADS = ["", "guarantee", "verdict"]
_TIMELINE_HEADS = ["when", "", "fault", "what", "to ack"]


def _moment(happening: Happening) -> list[str]:
    to_ack = "" if happening.recovery_s is None else _seconds(happening.recovery_s)
    kind, text = happening.kind, happening.text[:_TEXT_CHARS]
    return [f"{happening.at_s:.2f} s", kind, happening.name, text, to_ack]


def _markdown(summary: Summary) -> Iterator[str]:
    yield f"# {summary.title}: {summary.verdict}"
    yield ""
    yield _opening(summary)
    yield ""
    yield from (f"- {figure} {what}" for figure, what in _figures(summary))
    yield ""
    yield "## Guarantees"
    yield ""
    yield from _markdown_table(_VERDICT_HEADS, map(_verdict, summary.guarantees))
    yield ""
    yield "## Findings"
    yield ""
    yield from ([f"- {finding}" for finding in summary.findings] or ["None."])
    if summary.witnesses:
        yield "\n## Witnesses\n\n```text"
        yield from summary.witnesses
        yield "```"
    yield ""
    yield "## Faults"
    yield ""
    yield from _markdown_table(_HEADS, map(_row, summary.faults))
    yield ""
    yield "## What happened when"
    yield ""
    yield from _markdown_table(_TIMELINE_HEADS, map(_moment, summary.timeline))
    yield ""
    yield "## `imserver verify`"
    yield ""
    yield f"```text\n{summary.verified}\n```"
    yield ""
    yield "## Environment"
    yield ""
    yield from (f"- {name}: {value}" for name, value in summary.environment.items())


def _markdown_table(heads: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"


def _page(summary: Summary) -> Iterator[str]:
    mood = "ok" if summary.clean else "bad"
    yield '<!doctype html><html lang="en"><meta charset="utf-8"><title>'
    yield f"{_e(summary.title)}: {_e(summary.verdict)}</title><style>{_CSS}</style>"
    yield f'<h1 class="{mood}">{_e(summary.title)}: {_e(summary.verdict)}</h1><p>{_e(_opening(summary))}</p>'
    yield '<div class="figures">'
    yield from (f"<div><b>{_e(figure)}</b>{_e(what)}</div>" for figure, what in _figures(summary))
    yield "</div><h2>Guarantees</h2>"
    yield from _table(_VERDICT_HEADS, map(_verdict, summary.guarantees), numbers=())
    yield "<h2>Findings</h2>"
    if summary.findings:
        yield "<ul>" + "".join(f'<li class="bad"><pre>{_e(f)}</pre>' for f in summary.findings)
        yield "</ul>"
    else:
        yield "<p>None.</p>"
    if summary.witnesses:
        yield "<h2>Witnesses</h2><pre>" + _e("\n".join(summary.witnesses)) + "</pre>"
    yield "<h2>Acked sends a second</h2>"
    yield _chart(summary)
    yield "<h2>Faults</h2>"
    yield from _table(_HEADS, map(_row, summary.faults), numbers=range(2, len(_HEADS)))
    yield "<h2>What happened when</h2><details><summary>Every fault and its healing</summary>"
    yield from _table(_TIMELINE_HEADS, map(_moment, summary.timeline), numbers=(0, 4))
    yield f"</details><h2>imserver verify</h2><pre>{_e(summary.verified)}</pre><h2>Environment</h2>"
    rows = ([name, str(value)] for name, value in summary.environment.items())
    yield from _table(["", ""], rows, numbers=())
    yield "</html>"


def _table(
    heads: list[str], rows: Iterable[list[str]], *, numbers: Collection[int]
) -> Iterator[str]:
    marks = [' class="n"' if at in numbers else "" for at in range(len(heads))]
    yield "<table><tr>"
    yield from (f"<th{mark}>{_e(head)}</th>" for mark, head in zip(marks, heads, strict=True))
    for row in rows:
        yield "<tr>"
        yield from (f"<td{mark}>{_e(cell)}</td>" for mark, cell in zip(marks, row, strict=True))
    yield "</table>"


def _chart(summary: Summary) -> str:
    """Return bars of acks, with a line for each fault."""
    bars = summary.acks_per_second
    width, height, most = max(1, len(bars)), 100, max([1, *bars])
    parts = [f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img">']
    for happening in summary.timeline:
        if happening.kind == "fault":
            at = happening.at_s
            title = f"<title>{_e(f'{at:.1f} s: {happening.name}')}</title>"
            parts.append(
                f'<rect x="{at:.2f}" y="0" width="0.15" height="{height}" fill="#e0908a">{title}</rect>'
            )
    for at, acks in enumerate(bars):
        tall = height * acks / most
        title = f"<title>{at} s: {acks} acks</title>"
        parts.append(
            f'<rect x="{at}" y="{height - tall:.2f}" width="0.8" height="{tall:.2f}" '
            f'fill="#35618f">{title}</rect>'
        )
    return "".join(parts) + f"</svg><p>Highest: {most:,} a second. Red lines: faults.</p>"


def _seconds(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f} s"


def _e(text: str) -> str:
    return html.escape(text)
