"""What a check of a store says, whatever the engine: findings, and what each rule means."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from msgspec import Struct

WITNESSES_MAX: Final = 5

RULES: Final = {
    "lost_commits": "commits in the write-ahead log that cannot be read any more",
    "gap": "seq that are missing in a log",
    "duplicate_cid": "cids that stand more than once in a conversation",
    "dangling_ref": "events that refer to none before them",
    "mismatched_row": "rows that say something else than the event in them",
    "broken_seal": "bodies whose seal is broken: changed, or moved from another row",
    "not_sealed": "bodies that are not sealed, where all the others are",
    "event_without_conversation": "logs that belong to no conversation",
    "conversation_without_events": "conversations without a first event",
    "cursor_beyond_head": "cursors beyond the head of their log",
    "member_of_ended_group": "members of a group that has ended",
    "unregistered_member": "members that are not registered",
    "file_ref_without_event": "references to files by events that are not there",
    "blob_without_file": "bytes that are kept for no file",
    "missing_content": "finished files whose bytes are not there",
    "damaged_content": "finished files whose bytes are damaged",
    "stray_content": "bytes beside the store that it does not know",
}
"""What is looked for besides damage of the file, and what it means."""


class Finding(Struct, frozen=True):
    """Something that must not be: what, how often, and the first places.

    Attributes:
        rule: ``damage`` or a key of `RULES`.
        meaning: the same in words.
        count: how often; of damage, at most 100 places are counted.
        witnesses: the first few places, for a person to look at.
    """

    rule: str
    meaning: str
    count: int
    witnesses: tuple[str, ...]


class Report(Struct, frozen=True):
    """What a check saw. The store is sound if there are no findings.

    Attributes:
        place: the store's file, or where its database is.
        engine: the version of what read it.
        unopened: how many bodies are sealed with keys that were not given, so that nothing was seen of them.
    """

    place: str
    engine: str
    conversations: int
    events: int
    findings: tuple[Finding, ...]
    unopened: int = 0


class Tally:
    """Counts what breaks rules, and keeps the first witnesses of each."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}
        self._witnesses: dict[str, list[str]] = {}

    def add(self, rule: str, *witnesses: str) -> None:
        """Count each of the witnesses as one that breaks ``rule``."""
        self._count[rule] = self._count.get(rule, 0) + len(witnesses)
        kept = self._witnesses.setdefault(rule, [])
        kept += islice(witnesses, max(0, WITNESSES_MAX - len(kept)))

    def findings(self) -> Iterable[Finding]:
        """Yield what was found, in the order of the rules."""
        for rule, meaning in RULES.items():
            if self._count.get(rule):
                yield Finding(rule, meaning, self._count[rule], tuple(self._witnesses[rule]))
