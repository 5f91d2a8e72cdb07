"""``verify``: judge by what its clients wrote down whether a server kept its promises."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imserver.cli.failure import FAILED, WrongUse
from imserver.cli.keys import KeysOption, ring_if_any
from imserver.cli.text import printable

if TYPE_CHECKING:
    from imserver.verify.logs import Logs


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(verify)


def verify(
    histories: Annotated[
        list[Path],
        typer.Argument(
            metavar="HISTORY…", help="Histories of all clients: files, or directories of *.jsonl."
        ),
    ],
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Take the raw log from this data directory."),
    ] = None,
    keys: KeysOption = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="Take the raw log from events as `tail --json` prints them.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Judge histories of clients, and the raw log. Exit status 1 if one of the guarantees is violated."""
    import gc  # noqa: PLC0415

    from imserver.verify.history import HistoryUnusable  # noqa: PLC0415  (and the engine behind it)
    from imserver.verify.verifier import verify as judge  # noqa: PLC0415

    gc.disable()  # millions of small values and no cycles: looking for some would take a third of the time
    try:
        report = judge(histories, _logs(data, log, keys))
    except HistoryUnusable as exc:
        raise WrongUse(str(exc)) from exc
    finally:
        gc.enable()
    typer.echo(report.to_json() if as_json else _printable_lines(report.to_text()))
    if not report.clean:
        raise typer.Exit(FAILED)


def _logs(data: Path | None, log: Path | None, keys: Path | None) -> "Logs":
    from imserver.verify import raw_log  # noqa: PLC0415

    if data is not None and log is not None:
        raise WrongUse("give --data or --log, not both: there is one raw log")
    if data is not None:
        return raw_log.read_data_directory(data, ring_if_any(data, keys))
    return raw_log.read_log_file(log) if log is not None else raw_log.no_log()


def _printable_lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))
