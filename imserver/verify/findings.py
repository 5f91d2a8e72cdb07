"""What the checks find, gathered while they run: violations with their witnesses, and how much was looked at.

Only the first violations of each guarantee are kept, all are counted: a lost log of a million events is one
finding, and must not cost the memory of a million.
"""

from collections import Counter
from typing import Final, TypeAlias

from msgspec import Struct

from imserver.verify.guarantees import Guarantee
from imserver.verify.logs import ConversationLog, Entry

KEPT_MAX: Final = 100
"""Violations of one guarantee that are kept with their witnesses."""

LINE_BITS: Final = 40


class LogPlace(Struct, frozen=True):
    """An event of a log as a witness; ``entry`` is None where it is missing."""

    conv: str
    seq: int
    entry: Entry | None


Witness: TypeAlias = int | LogPlace
"""A line of a history (see `where`) or an event of a log."""


class Finding(Struct, frozen=True):
    """A violation: which guarantee, what happened, and who saw it."""

    guarantee: Guarantee
    sentence: str
    witnesses: tuple[Witness, ...]


class Findings:
    """Collects what the checks find.

    Attributes:
        violations: how many of each guarantee.
        checked: how many things were judged, by guarantee.
        kept: the first violations of each guarantee, in the order they were found.
        notes: what a reader of the report should know besides, with how often.
    """

    def __init__(self) -> None:
        self.violations: Counter[Guarantee] = Counter()
        self.checked: Counter[Guarantee] = Counter()
        self.kept: list[Finding] = []
        self.notes: Counter[str] = Counter()

    def add(self, guarantee: Guarantee, sentence: str, *witnesses: Witness) -> None:
        """Note a violation."""
        self.violations[guarantee] += 1
        if self.violations[guarantee] <= KEPT_MAX:
            known = tuple(witness for witness in witnesses if witness != -1)
            self.kept.append(Finding(guarantee, sentence, known))


def where(file: int, line: int) -> int:
    """Return a line of a history as one number, which a million of are cheap to keep."""
    return file << LINE_BITS | line


def file_and_line(place: int) -> tuple[int, int]:
    """Return what `where` was given."""
    return place >> LINE_BITS, place & (1 << LINE_BITS) - 1


def witness_of(log: ConversationLog, seq: int) -> Witness:
    """Return who tells what stands at a seq: the log itself, or the record that first told of it."""
    entry = log.entries.get(seq)
    if log.is_raw or entry is None:
        return LogPlace(log.conv, seq, entry)
    return entry.where
