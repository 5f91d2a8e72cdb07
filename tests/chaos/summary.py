"""What a run comes to, in numbers: the one source of the report's three forms."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from tests.chaos.fault import S
from tests.chaos.journal import Entry, Journal
from tests.chaos.recovery import Recovery, recoveries_of
from tests.chaos.run import Outcome
from tests.chaos.scene import Silence
from tests.chaos.second_opinion import Ack
from tests.chaos.setting import Setting

WITNESSES_MAX = 20


class FaultRow(Struct):
    """A fault and what became of it: times in seconds from it, or its healing, to the next ack."""

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
    """A run in numbers; ``harm`` counts faults by what they do."""

    title: str
    verdict: str
    clean: bool
    seed: str
    seconds: float
    took_s: float
    robots: int
    groups: int
    harm: dict[str, int]
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
    going_on_p99_s: float | None
    going_on_worst_s: float | None
    faults: list[FaultRow]
    findings: list[str]
    guarantees: list[GuaranteeRow]
    witnesses: list[str]
    verified: str
    acks_per_second: list[int]
    timeline: list[Happening]
    environment: dict[str, Any]


def summarise(
    setting: Setting[S], outcome: Outcome, journal: Journal, environment: dict[str, Any]
) -> Summary:
    """Return the summary of a run; notes a finding for each recovery that took too long."""
    ok_times = sorted(ack.t for ack in outcome.acks)
    recoveries = recoveries_of(journal, outcome.acks, outcome.lines, shown=outcome.shown)
    check_silences(outcome.silences, outcome.acks, journal)
    findings = [f"{entry.name}: {entry.text}" for entry in journal.of("finding")]
    restarts = [r.took_s for r in recoveries if r.entry.start]
    ran = [r.took_s - r.entry.waited_s for r in recoveries if r.entry.start]
    going_on = [r.took_s for r in recoveries if r.entry.each]
    opinion, plan = outcome.opinion, outcome.plan
    clean = outcome.is_clean and not findings
    counts = _counts(journal)
    return Summary(
        title=setting.title,
        verdict="clean" if clean else f"NOT CLEAN: {len(findings)} findings",
        clean=clean,
        seed=plan.seed,
        seconds=plan.seconds,
        took_s=round(outcome.took_s, 1),
        robots=plan.robots,
        groups=plan.groups,
        harm={what: _sum(counts, names) for what, names in setting.harm.items()},
        server_starts=outcome.starts,
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
        going_on_p99_s=_share(going_on, 0.99),
        going_on_worst_s=max(going_on, default=None),
        faults=_rows(setting, outcome, journal, recoveries, counts),
        findings=findings,
        guarantees=_guarantees(outcome),
        witnesses=_witnesses(outcome),
        verified=outcome.verified.to_text(),
        acks_per_second=_per_second(ok_times, journal.began_s),
        timeline=_timeline(journal, recoveries),
        environment=environment,
    )


def check_silences(silences: list[Silence], acks: list[Ack], journal: Journal) -> None:
    """Note a finding for each time in which nothing could be stored, and something was asked for and acked.

    What was asked for before may have been stored before, and its ack have taken long; what is asked for
    again may have been stored at the first time.
    """
    fresh = [ack for ack in acks if not ack.is_dup]
    for silence in silences:
        those = [ack for ack in fresh if silence.since_s <= ack.asked_t <= ack.t < silence.until_s]
        if those:
            acked = f"{len(those)} sends were acked when nothing could be stored"
            journal.note("finding", silence.name, acked)


def _counts(journal: Journal) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in journal.of("fault"):
        counts[entry.name] = counts.get(entry.name, 0) + 1
    return counts


def _sum(counts: dict[str, int], names: Iterable[str]) -> int:
    return sum(counts.get(name, 0) for name in names)


def _rows(
    setting: Setting[S],
    outcome: Outcome,
    journal: Journal,
    recoveries: list[Recovery],
    counts: dict[str, int],
) -> list[FaultRow]:
    rows = []
    for fault in setting.faults:
        times = [r.took_s for r in recoveries if r.entry.name == fault.name]
        limits = [r.entry.limit_s for r in recoveries if r.entry.name == fault.name]
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


def _timeline(journal: Journal, recoveries: list[Recovery]) -> list[Happening]:
    found = {id(recovery.entry): recovery for recovery in recoveries}
    happenings = []
    for entry in journal.entries:
        recovery, text = found.get(id(entry)), _told(entry)
        if recovery is not None and recovery.slowest:
            text = f"{text}; slowest: {recovery.slowest}".lstrip("; ")
        at_s, took_s = round(entry.t - journal.began_s, 2), recovery and recovery.took_s
        happenings.append(Happening(at_s, entry.kind, entry.name, text, took_s))
    return happenings


def _per_second(ok_times: list[float], began_s: float) -> list[int]:
    seconds: list[int] = []
    for t in ok_times:
        at = max(0, int(t - began_s))
        seconds.extend([0] * (at + 1 - len(seconds)))
        seconds[at] += 1
    return seconds
