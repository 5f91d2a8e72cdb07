"""What happened in a run, in order: told on standard output as it happens, and kept in a file."""

import time
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

Kind = Literal["note", "fault", "healed", "finding", "skipped"]


class Entry(Struct, omit_defaults=True):
    """Something that happened.

    Attributes:
        t: seconds on the machine's monotonic clock, the one of the histories.
        kind: ``fault``: something was broken. ``healed``: it works again, or a server was started on it.
            ``finding``: something that must not be. ``skipped``: a fault that this machine cannot do.
        name: of the fault.
        text: for people.
        limit_s: within this time after it a send must be acked.
        each: of each robot, and in each conversation.
        start: a server was started (healed).
        waited_s: of the time until it was ready, how long it stood in line for a processor (start).
        facts: what was drawn and measured.
    """

    t: float
    kind: Kind
    name: str
    text: str = ""
    limit_s: float | None = None
    start: bool = False
    each: bool = False
    waited_s: float = 0.0
    facts: dict[str, Any] = {}


class Journal:
    """The entries of a run."""

    def __init__(self, path: Path) -> None:
        self.entries: list[Entry] = []
        self.began_s = time.monotonic()
        self._file = path.open("ab", buffering=0)

    def note(
        self,
        kind: Kind,
        name: str,
        text: str = "",
        *,
        limit_s: float | None = None,
        start: bool = False,
        each: bool = False,
        facts: dict[str, Any] | None = None,
    ) -> Entry:
        """Put something down, and return it."""
        entry = Entry(time.monotonic(), kind, name, text, limit_s, start, each)
        entry.facts = facts or {}
        self.entries.append(entry)
        self._file.write(msgspec.json.encode(entry) + b"\n")
        shown = f" {text}" if text else ""
        drawn = f" {entry.facts}" if entry.facts else ""
        print(f"{entry.t - self.began_s:8.2f} {kind:8} {name}{shown}{drawn}", flush=True)
        return entry

    def of(self, kind: Kind) -> list[Entry]:
        """Return the entries of a kind."""
        return [entry for entry in self.entries if entry.kind == kind]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
