"""The report: what was looked at, how much of it, and what was found, as text and as JSON."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from imserver.verify.findings import Findings, LogPlace, Witness, file_and_line
from imserver.verify.guarantees import MEANING, Guarantee
from imserver.verify.logs import Logs

_SHOWN_MAX: Final = 20
"""Violations of one guarantee that the text tells in full; JSON has all that were kept."""
_LINE_CHARS_MAX: Final = 600
_INDENT: Final = "      "


class Evidence(Struct, frozen=True):
    """A witness: its place (``FILE:LINE`` or ``log CONV SEQ``) and what stands there."""

    place: str
    text: str


class Violation(Struct, frozen=True):
    """A guarantee that was not kept: what happened, and who saw it."""

    guarantee: Guarantee
    sentence: str
    witnesses: tuple[Evidence, ...]


class Checked(Struct, frozen=True):
    """A guarantee, and what became of it.

    Attributes:
        guarantee, says: which.
        count, counted: how many of what were judged; if none, it was not judged at all.
        violations: how often it was not kept.
        needs: what is needed to judge it.
    """

    guarantee: Guarantee
    says: str
    count: int
    counted: str
    violations: int
    needs: str


class Report(Struct, frozen=True):
    """What a verification saw.

    Attributes:
        clean: nothing that was judged was violated.
        histories, sessions, records: how much was read.
        log: where the raw log was read from; None if there was none.
        conversations, events: of the raw log.
        guarantees: all of them.
        violations: the first of each guarantee, with their witnesses.
        notes: what should be known besides, each with how often.
    """

    clean: bool
    histories: int
    sessions: int
    records: int
    log: str | None
    conversations: int
    events: int
    guarantees: tuple[Checked, ...]
    violations: tuple[Violation, ...]
    notes: dict[str, int]

    def of(self, guarantee: Guarantee) -> Checked:
        """Return what became of a guarantee."""
        return next(row for row in self.guarantees if row.guarantee is guarantee)

    def violated(self) -> set[str]:
        """Return the names of the guarantees that were not kept."""
        return {row.guarantee.value for row in self.guarantees if row.violations}

    def to_json(self) -> str:
        """Return the report as one JSON object."""
        return msgspec.json.encode(self).decode()

    def to_text(self) -> str:
        """Return the report as lines for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        log = (
            f"log: {self.log}, {self.conversations:,} conversations, {self.events:,} events"
            if self.log is not None
            else "no raw log: what was stored is judged only by what clients saw"
        )
        yield (
            f"read {self.histories:,} histories, {self.sessions:,} sessions, "
            f"{self.records:,} records; {log}"
        )
        yield from (f"note: {note}: {count:,}" for note, count in self.notes.items())
        yield ""
        yield from (_table_line(row) for row in self.guarantees)
        for row in self.guarantees:
            told = [v for v in self.violations if v.guarantee is row.guarantee][:_SHOWN_MAX]
            for violation in told:
                yield ""
                yield f"{row.guarantee:<4}  {violation.sentence}"
                yield from (f"{_INDENT}{w.place}: {w.text}" for w in violation.witnesses)
            if row.violations > len(told):
                yield f"{row.guarantee:<4}  … and {row.violations - len(told):,} more"
        yield ""
        yield self._verdict()

    def _verdict(self) -> str:
        judged = sum(1 for row in self.guarantees if row.count)
        among = f"{judged} of {len(self.guarantees)} guarantees judged"
        if self.clean:
            return f"clean: {among}, none violated"
        broken = ", ".join(row.guarantee for row in self.guarantees if row.violations)
        return f"VIOLATED: {broken} ({among})"


def report_of(
    findings: Findings, logs: Logs, files: list[Path], *, sessions: int, records: int
) -> Report:
    """Return the report of a verification; reads the lines of its witnesses again."""
    texts = _lines_of(files, (w for found in findings.kept for w in found.witnesses))
    raw = logs.raw()
    return Report(
        clean=not findings.violations.total(),
        histories=len(files),
        sessions=sessions,
        records=records,
        log=logs.source,
        conversations=len(raw),
        events=sum(len(log.entries) for log in raw),
        guarantees=tuple(_checked(guarantee, findings) for guarantee in Guarantee),
        violations=tuple(
            Violation(
                found.guarantee,
                found.sentence,
                tuple(_evidence(witness, files, texts) for witness in found.witnesses),
            )
            for found in findings.kept
        ),
        notes=dict(findings.notes),
    )


def _checked(guarantee: Guarantee, findings: Findings) -> Checked:
    meaning = MEANING[guarantee]
    return Checked(
        guarantee,
        meaning.says,
        findings.checked[guarantee],
        meaning.counted,
        findings.violations[guarantee],
        meaning.needs,
    )


def _table_line(row: Checked) -> str:
    if row.violations:
        result = f"{row.violations:,} VIOLATIONS in {row.count:,} {row.counted}"
    elif row.count:
        result = f"ok, {row.count:,} {row.counted}"
    else:
        result = f"NOT JUDGED: needs {row.needs}"
    return f"{row.guarantee:<4}  {row.says}: {result}"


def _evidence(witness: Witness, files: list[Path], texts: dict[int, str]) -> Evidence:
    if isinstance(witness, LogPlace):
        return Evidence(f"log {witness.conv} {witness.seq}", _entry_text(witness))
    file, line = file_and_line(witness)
    return Evidence(f"{files[file]}:{line}", texts[witness])


def _entry_text(place: LogPlace) -> str:
    entry = place.entry
    if entry is None:
        return "nothing"
    shown: dict[str, Any] = {"sender": entry.sender, "cid": entry.cid, "kind": entry.kind}
    return msgspec.json.encode(shown).decode()


def _lines_of(files: list[Path], witnesses: Iterable[Witness]) -> dict[int, str]:
    wanted: dict[int, dict[int, int]] = {}
    for witness in witnesses:
        if isinstance(witness, int):
            file, line = file_and_line(witness)
            wanted.setdefault(file, {})[line] = witness
    texts: dict[int, str] = {}
    for file, lines in wanted.items():
        with files[file].open("rb") as stream:
            for number, text in enumerate(islice(stream, max(lines)), 1):
                if number in lines:
                    shown = text.rstrip(b"\n").decode("utf-8", "replace")
                    texts[lines[number]] = shown[:_LINE_CHARS_MAX]
    return texts
