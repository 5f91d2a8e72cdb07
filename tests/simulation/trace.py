"""What happened in a run: its digest, its counters, and what was found wrong."""

import hashlib
from collections import Counter
from typing import NamedTuple


class Finding(NamedTuple):
    """A promise that was broken: ``rule`` names it, ``story`` says with which witnesses."""

    rule: str
    story: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.story}"


class Trace:
    """The record of a run.

    Attributes:
        findings: what was found wrong, each rule's first few.
        counts: what the run covered.
        lines: the record in words, kept only if asked for.
        is_closed: the run is over, and what its remains still say is of no interest.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._hash = hashlib.blake2b(digest_size=8)
        self._verbose = verbose
        self._per_rule: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self.counts: Counter[str] = Counter()
        self.lines: list[str] = []
        self.is_closed = False

    def note(self, now_s: float, text: str) -> None:
        """Record something that happened; every note is part of the digest."""
        line = f"{now_s:.6f} {text}"
        self._hash.update(line.encode())
        if self._verbose:
            self.lines.append(line)

    def problem(self, rule: str, story: str) -> None:
        """Record that a promise was broken."""
        if self.is_closed:
            return
        self._per_rule[rule] += 1
        if self._per_rule[rule] <= 3:
            self.findings.append(Finding(rule, story))

    def digest(self) -> str:
        """Return a fingerprint of everything noted: equal for equal runs."""
        return self._hash.hexdigest()
