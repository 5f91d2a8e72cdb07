"""How values from outside are shown on a terminal: nothing in them may steer it."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any


def printable(text: str) -> str:
    """Return ``text`` with every character that is not printable (escape codes, line ends) spelled out."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _spelled(char) for char in text)


def body_text(body: Any) -> str:
    """Return a body on one line: text as it is, everything else as JSON."""
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=repr)
    return printable(text)


def clock_time(ms: int) -> str:
    """Return the time of day, in UTC, of milliseconds since 1970."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]


def date_time(ms: int) -> str:
    """Return date and time, in UTC, of milliseconds since 1970."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table as lines whose columns are aligned."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def _spelled(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
