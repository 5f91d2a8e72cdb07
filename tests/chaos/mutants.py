"""Broken copies of the server: each has one line that must never be written, and chaos must find it out."""

import shutil
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Change(NamedTuple):
    """A piece of a file, and what stands in its place in the broken copy."""

    file: str
    old: str
    new: str


_WRITER = "imserver/data/sqlite/writer.py"

ACK_BEFORE_COMMIT = (
    Change(
        _WRITER,
        "            return work()\n",
        """            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
            return work()
""",
    ),
    Change(
        _WRITER,
        '            self._db.execute("BEGIN IMMEDIATE")\n            yield',
        """            if self._db.in_transaction:
                self._db.execute("COMMIT")
            self._db.execute("BEGIN IMMEDIATE")
            yield""",
    ),
    Change(
        _WRITER,
        "        grown = self._pages_written() - self._pages_seen\n        if grown and",
        """        self._late = getattr(self, "_late", 0) + 1
        if self._db.in_transaction:
            if not idle and self._late < 50:
                return 0.2
            self._late = 0
            self._commit()
        grown = self._pages_written() - self._pages_seen
        if grown and""",
    ),
)
"""Events are acked and shown when they are in a transaction, which is committed some fifty of them later."""

FSYNC_RETRIED = (
    Change(
        _WRITER,
        "            return self._append(events, check_first=False)\n",
        """            return self._append(events, check_first=False)
        except StoreFailed:
            self._health.failure = None
            self._roll_back()
            return self.append(events)
""",
    ),
    Change(
        _WRITER,
        "        self._health.fail(failure)\n",
        "        self._health.failure = failure\n",
    ),
)
"""After an fsync that failed the same is written once more, and this time all seems well."""


def broken_copy(folder: Path, changes: tuple[Change, ...]) -> Path:
    """Make a copy of the packages with the changes, and return its folder."""
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("imserver", "client_sdk"):
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    for change in changes:
        path = folder / change.file
        text = path.read_text(encoding="utf-8")
        if text.count(change.old) != 1:
            raise ValueError(f"{change.file} has no one place that reads {change.old!r}: adapt it")
        path.write_text(text.replace(change.old, change.new), encoding="utf-8")
    return folder
