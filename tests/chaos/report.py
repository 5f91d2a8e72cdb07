"""The report of a run: a page that a person can read, the same in Markdown, and JSON for programs."""

import html
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.chaos.summary import FaultRow, Summary

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


def _figures(summary: Summary) -> list[tuple[str, str]]:
    return [
        (f"{summary.acked:,}", "sends acked"),
        (f"{summary.received:,}", "events shown to robots"),
        (f"{summary.lost}", "lost"),
        (f"{summary.doubled}", "doubled"),
        (f"{summary.reordered}", "reordered"),
        (f"{summary.gaps}", "gaps"),
        (f"{summary.undelivered}", "logs not read to their end"),
        (f"{summary.unresolved}", "sends without an outcome"),
        (f"{summary.kills}", "kills"),
        (f"{summary.power_cuts}", "power cuts"),
        (f"{summary.server_starts}", "starts of the server"),
        (f"{summary.reconnects:,}", "reconnects"),
        (_seconds(summary.recovery_median_s), "from a start to the first ack, median"),
        (_seconds(summary.recovery_worst_s), "the same, worst (limit 5 s)"),
    ]


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
    return [row.name, says, count, _seconds(row.recovery_median_s), worst, str(row.findings)]


_HEADS = ["fault", "what happens", "times", "median to ack", "worst to ack", "findings"]


def _markdown(summary: Summary) -> Iterator[str]:
    yield f"# Chaos: {summary.verdict}"
    yield ""
    yield _opening(summary)
    yield ""
    yield from (f"- {figure} {what}" for figure, what in _figures(summary))
    yield ""
    yield "| " + " | ".join(_HEADS) + " |"
    yield "|" + "---|" * len(_HEADS)
    yield from ("| " + " | ".join(_row(row)) + " |" for row in summary.faults)
    yield ""
    yield "## Findings"
    yield ""
    yield from ([f"- {finding}" for finding in summary.findings] or ["None."])
    yield ""
    yield "## `imserver verify`"
    yield ""
    yield f"```text\n{summary.verified}\n```"
    yield ""
    yield "## Environment"
    yield ""
    yield from (f"- {name}: {value}" for name, value in summary.environment.items())


def _page(summary: Summary) -> Iterator[str]:
    mood = "ok" if summary.clean else "bad"
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Chaos: {_e(summary.verdict)}'
    yield f"</title><style>{_CSS}</style>"
    yield f'<h1 class="{mood}">Chaos: {_e(summary.verdict)}</h1><p>{_e(_opening(summary))}</p>'
    yield '<div class="figures">'
    yield from (f"<div><b>{_e(figure)}</b>{_e(what)}</div>" for figure, what in _figures(summary))
    yield "</div><h2>Acked sends a second</h2>"
    yield _chart(summary)
    yield "<h2>Faults</h2><table><tr>"
    yield from (f"<th{_number(at)}>{_e(head)}</th>" for at, head in enumerate(_HEADS))
    for row in summary.faults:
        yield "<tr>"
        yield from (f"<td{_number(at)}>{_e(cell)}</td>" for at, cell in enumerate(_row(row)))
    yield "</table><h2>Findings</h2>"
    if summary.findings:
        yield "<ul>" + "".join(f'<li class="bad"><pre>{_e(f)}</pre>' for f in summary.findings)
        yield "</ul>"
    else:
        yield "<p>None.</p>"
    yield "<h2>What happened when</h2><details><summary>Every fault and its healing</summary><table>"
    yield from (
        f'<tr><td class="n">{at:.2f} s<td>{_e(kind)}<td>{_e(name)}<td>{_e(text[:300])}'
        for at, kind, name, text in summary.timeline
    )
    yield "</table></details>"
    yield f"<h2>imserver verify</h2><pre>{_e(summary.verified)}</pre><h2>Environment</h2><table>"
    yield from (
        f"<tr><td>{_e(name)}<td>{_e(str(value))}" for name, value in summary.environment.items()
    )
    yield "</table></html>"


def _chart(summary: Summary) -> str:
    """Return bars of acks, with a line for each fault."""
    bars = summary.acks_per_second
    width, height, most = max(1, len(bars)), 100, max([1, *bars])
    parts = [f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img">']
    for at, kind, name, _ in summary.timeline:
        if kind == "fault":
            title = f"<title>{_e(f'{at:.1f} s: {name}')}</title>"
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


def _number(at: int) -> str:
    return ' class="n"' if at > 1 else ""


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _e(text: str) -> str:
    return html.escape(text)
