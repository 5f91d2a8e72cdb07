"""How commands list things: as a table, or with ``--json`` as one JSON object a line."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from imserver.cli.text import columns

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


def json_line(row: Any) -> str:
    """Return one thing as JSON on one line."""
    return msgspec.json.encode(row).decode()


def print_rows(
    rows: Sequence[Any],
    header: Sequence[str],
    cells: Sequence[Sequence[str]],
    *,
    as_json: bool,
) -> None:
    """Print all of ``rows``: what ``cells`` shows of them under a header, or themselves as JSON."""
    for line in map(json_line, rows) if as_json else columns(header, cells):
        typer.echo(line)
