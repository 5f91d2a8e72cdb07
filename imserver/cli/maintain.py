"""``check`` and ``version``: look after a deployment."""

from pathlib import Path

import typer

import imserver
from imserver.cli.failure import CommandFailed
from imserver.cli.options import DEFAULT_DATA, DataOption
from imserver.cli.text import printable
from imserver.data.directory import DATABASE_NAME


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(check)
    app.command()(version)


def check(data: DataOption = DEFAULT_DATA) -> None:
    """Look for damage in the store: gaps, doubles, dangling references. Exit status 1 if there is any."""
    from imserver.data import sqlite_check  # noqa: PLC0415  (loads the engine)

    database = _database(data)
    report = sqlite_check.check(database)
    for finding in report.findings:
        places = "; ".join(printable(witness) for witness in finding.witnesses)
        typer.echo(f"{finding.rule}: {finding.count} {finding.meaning}: {places}")
    if report.findings:
        raise CommandFailed(
            f"{database} is not sound: {len(report.findings)} rules are broken; "
            "keep a copy of it and restore a backup"
        )
    typer.echo(f"{database} is sound: {report.conversations} conversations, {report.events} events")


def version() -> None:
    """Print the version."""
    typer.echo(f"imserver {imserver.__version__}")


def _database(data: Path) -> Path:
    database = data / DATABASE_NAME
    if not database.is_file():
        raise CommandFailed(f"there is no store in {data}; name the data directory with --data")
    return database
