"""What a run comes to, in numbers: the one source of the report's three forms."""

import bisect
from typing import Any

from msgspec import Struct

from tests.chaos.faults import ALL_FAULTS
from tests.chaos.journal import Entry, Journal
from tests.chaos.run import Outcome

WITNESSES_MAX = 20
ON_THEIR_WAY_S = 0.5
"""Acks that were written before a failure may be read by a busy robot this much later."""


class FaultRow(Struct):
    """A fault and what became of it: times in seconds from its healing to the next ack."""

    name: str
    says: str
    count: int = 0
    findings: int = 0
    recovery_median_s: float | None = None
    recovery_p99_s: float | None = None
    recovery_worst_s: float | None = None
    limit_s: float | None = None
    skipped: str | None = None


class GuaranteeRow(Struct):
    """A guarantee of `imserver.verify`, how much of it was judged, and how often it was not kept."""

    name: str
    says: str
    judged: int
    counted: str
    violations: int
    needs: str


class Happening(Struct):
    """Something that happened: when, in seconds since the run began, and how long the next ack then took.

    ``recovery_s`` is for what was healed.
    """

    at_s: float
    kind: str
    name: str
    text: str
    recovery_s: float | None = None


class Summary(Struct):
    """A run in numbers."""

    verdict: str
    clean: bool
    seed: str
    seconds: float
    took_s: float
    robots: int
    groups: int
    kills: int
    power_cuts: int
    client_kills: int
    server_starts: int
    acked: int
    stored: int
    let_go: int
    changed: int
    received: int
    gaps_told: int
    refused: int
    reconnects: int
    lost: int
    doubled: int
    reordered: int
    gaps: int
    undelivered: int
    unresolved: int
    recovery_median_s: float | None
    recovery_p99_s: float | None
    recovery_worst_s: float | None
    recovery_worst_run_s: float | None
    faults: list[FaultRow]
    findings: list[str]
    guarantees: list[GuaranteeRow]
    witnesses: list[str]
    verified: str
    acks_per_second: list[int]
    timeline: list[Happening]
    environment: dict[str, Any]


def summarise(outcome: Outcome, journal: Journal, environment: dict[str, Any]) -> Summary:
    """Return the summary of a run; notes a finding for each recovery that took too long."""
    ok_times = sorted(outcome.ok_times)
    recoveries = _recoveries(journal, ok_times)
    _check_silences(outcome, journal, ok_times)
    findings = [f"{entry.name}: {entry.text}" for entry in journal.of("finding")]
    restarts = [took_s for healed, took_s in recoveries if healed.start]
    ran = [took_s - healed.waited_s for healed, took_s in recoveries if healed.start]
    opinion, plan = outcome.opinion, outcome.plan
    clean = outcome.is_clean and not findings
    counts = _counts(journal)
    return Summary(
        verdict="clean" if clean else f"NOT CLEAN: {len(findings)} findings",
        clean=clean,
        seed=plan.seed,
        seconds=plan.seconds,
        took_s=round(outcome.took_s, 1),
        robots=plan.robots,
        groups=plan.groups,
        kills=counts.get("kill", 0) + 2 * counts.get("kill while starting", 0),
        power_cuts=sum(count for name, count in counts.items() if name.startswith("power cut")),
        client_kills=counts.get("kill client", 0),
        server_starts=len([e for e in journal.of("healed") if e.start]) + 1,
        acked=opinion.acked,
        stored=opinion.stored,
        let_go=opinion.let_go,
        changed=outcome.report.changed,
        received=outcome.report.received,
        gaps_told=outcome.report.gaps,
        refused=outcome.report.refused,
        reconnects=outcome.report.reconnects,
        lost=opinion.lost,
        doubled=opinion.doubled,
        reordered=opinion.reordered,
        gaps=opinion.gaps,
        undelivered=opinion.undelivered,
        unresolved=opinion.unresolved,
        recovery_median_s=_share(restarts, 0.5),
        recovery_p99_s=_share(restarts, 0.99),
        recovery_worst_s=max(restarts, default=None),
        recovery_worst_run_s=max(ran, default=None),
        faults=_rows(outcome, journal, recoveries, counts),
        findings=findings,
        guarantees=_guarantees(outcome),
        witnesses=_witnesses(outcome),
        verified=outcome.verified.to_text(),
        acks_per_second=_per_second(ok_times, journal.began_s),
        timeline=_timeline(journal, recoveries),
        environment=environment,
    )


def _recoveries(journal: Journal, ok_times: list[float]) -> list[tuple[Entry, float]]:
    """Return for each healing how long the next ack took, and note those that took too long."""
    found = []
    for healed in journal.of("healed"):
        at = bisect.bisect_right(ok_times, healed.t)
        if healed.limit_s is None or at == len(ok_times):
            continue
        took_s = round(ok_times[at] - healed.t, 3)
        found.append((healed, took_s))
        if took_s - healed.waited_s > healed.limit_s:
            late = f"first ack {took_s:.2f} s after it was healed; at most {healed.limit_s:g} s"
            waited = f" besides {healed.waited_s:.2f} s in line for a processor"
            journal.note("finding", healed.name, late + waited * (healed.waited_s > 0))
    return found


def _check_silences(outcome: Outcome, journal: Journal, ok_times: list[float]) -> None:
    """Note a finding for each time in which nothing may have been acked, and something was."""
    for silence in outcome.silences:
        since_s = silence.since_s + ON_THEIR_WAY_S * outcome.plan.slack
        until_s = max(since_s, silence.until_s)
        acks = bisect.bisect(ok_times, until_s) - bisect.bisect(ok_times, since_s)
        if acks:
            late = f"{acks} sends were acked after the disk had failed"
            journal.note("finding", silence.name, late)


def _counts(journal: Journal) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in journal.of("fault"):
        counts[entry.name] = counts.get(entry.name, 0) + 1
    return counts


def _rows(
    outcome: Outcome,
    journal: Journal,
    recoveries: list[tuple[Entry, float]],
    counts: dict[str, int],
) -> list[FaultRow]:
    rows = []
    for fault in ALL_FAULTS:
        times = [took_s for healed, took_s in recoveries if healed.name == fault.name]
        limits = [healed.limit_s for healed, _ in recoveries if healed.name == fault.name]
        rows.append(
            FaultRow(
                fault.name,
                fault.says,
                count=counts.get(fault.name, 0),
                findings=len([e for e in journal.of("finding") if e.name == fault.name]),
                recovery_median_s=_share(times, 0.5),
                recovery_p99_s=_share(times, 0.99),
                recovery_worst_s=max(times, default=None),
                limit_s=limits[0] if limits else None,
                skipped=outcome.skipped.get(fault.name),
            )
        )
    return rows


def _told(entry: Entry) -> str:
    facts = ", ".join(f"{name}: {value}" for name, value in entry.facts.items())
    return entry.text or facts


def _share(values: list[float], share: float) -> float | None:
    """Return the value that so great a share of all is not above."""
    if not values:
        return None
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _guarantees(outcome: Outcome) -> list[GuaranteeRow]:
    return [
        GuaranteeRow(row.guarantee, row.says, row.count, row.counted, row.violations, row.needs)
        for row in outcome.verified.guarantees
    ]


def _witnesses(outcome: Outcome) -> list[str]:
    """Return what both judges have against the server, with the places where it can be seen."""
    told = [
        f"{violation.guarantee}: {violation.sentence}\n"
        + "\n".join(f"    {seen.place}: {seen.text}" for seen in violation.witnesses)
        for violation in outcome.verified.violations[:WITNESSES_MAX]
    ]
    return [*outcome.opinion.witnesses, *told]


def _timeline(journal: Journal, recoveries: list[tuple[Entry, float]]) -> list[Happening]:
    took_s = {id(entry): recovery_s for entry, recovery_s in recoveries}
    return [
        Happening(
            round(entry.t - journal.began_s, 2),
            entry.kind,
            entry.name,
            _told(entry),
            took_s.get(id(entry)),
        )
        for entry in journal.entries
    ]


def _per_second(ok_times: list[float], began_s: float) -> list[int]:
    seconds: list[int] = []
    for t in ok_times:
        at = max(0, int(t - began_s))
        seconds.extend([0] * (at + 1 - len(seconds)))
        seconds[at] += 1
    return seconds
