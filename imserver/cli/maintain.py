"""``check``, ``backup``, ``restore``, ``accept-loss`` and ``version``: look after a deployment."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import imserver
from imserver.cli.failure import CommandFailed
from imserver.cli.keys import KeysOption, ring_if_any
from imserver.cli.options import DEFAULT_DATA, DataOption
from imserver.cli.recording import act_of, leave_on_record
from imserver.cli.text import printable
from imserver.core.acts import ActKind, Fact
from imserver.data.directory import DATABASE_NAME, DataDirectory

if TYPE_CHECKING:
    from imserver.data.sqlite.check import Report


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(check)
    app.command()(backup)
    app.command()(restore)
    app.command("accept-loss")(accept_loss)
    app.command()(version)


def check(data: DataOption = DEFAULT_DATA, keys: KeysOption = None) -> None:
    """Look for damage in the store: gaps, doubles, dangling references. Exit status 1 if there is any."""
    from imserver.data.sqlite import check as sqlite_check  # noqa: PLC0415  (loads the engine)

    database = _database(data)
    report = sqlite_check.check(database, ring_if_any(data, keys))
    for finding in report.findings:
        places = "; ".join(printable(witness) for witness in finding.witnesses)
        typer.echo(f"{finding.rule}: {finding.count} {finding.meaning}: {places}")
    if report.findings:
        raise CommandFailed(
            f"{database} is not sound: {len(report.findings)} rules are broken; "
            "keep a copy of it and restore a backup"
        )
    typer.echo(f"{database} is sound: {_totals(report)}")
    if report.unopened:
        typer.echo(
            f"{report.unopened} bodies are sealed and were not looked into, for want of their key; "
            "name the key ring with --keys"
        )


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new directory.")],
    data: DataOption = DEFAULT_DATA,
    with_key: Annotated[
        bool,
        typer.Option("--with-key", help="Copy the deployment's key, too: it can make every token."),
    ] = False,
) -> None:
    """Copy the store as it is now into a new directory, whether a server runs or not, and check the copy."""
    from imserver.data.sqlite import backup as sqlite_backup  # noqa: PLC0415  (loads the engine)

    _database(data)
    report = sqlite_backup.backup(DataDirectory(data), target, with_key=with_key)
    facts: dict[str, Fact] = {"target": str(target), "events": report.events, "key": int(with_key)}
    leave_on_record(data, act_of(ActKind.STORE_BACKED_UP, facts=facts))
    typer.echo(f"{target} holds {_totals(report)}")


def restore(
    source: Annotated[
        Path, typer.Option("--from", metavar="BACKUP", help="The directory that backup made.")
    ],
    data: DataOption = DEFAULT_DATA,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a store that is there, for good.")
    ] = False,
    keys: KeysOption = None,
) -> None:
    """Put a backup into an empty data directory. Robots are told that what came after it is lost."""
    from imserver.data.sqlite import backup as sqlite_backup  # noqa: PLC0415  (loads the engine)

    ring = ring_if_any(data, keys)
    report = sqlite_backup.restore(source, DataDirectory(data), ring=ring, force=force)
    facts: dict[str, Fact] = {"source": str(source), "events": report.events, "force": int(force)}
    leave_on_record(data, act_of(ActKind.STORE_RESTORED, facts=facts))
    typer.echo(f"{data} holds {_totals(report)}; every conversation has a new epoch")


def accept_loss(data: DataOption = DEFAULT_DATA) -> None:
    """Go on with a store that lost its end, where there is no backup. Robots are told what is lost."""
    from imserver.data.sqlite import backup as sqlite_backup  # noqa: PLC0415  (loads the engine)

    database = _database(data)
    report = sqlite_backup.accept_loss(DataDirectory(data))
    if report is None:
        typer.echo(f"{database} has lost nothing; it is as it was")
    else:
        facts: dict[str, Fact] = {"events": report.events}
        leave_on_record(data, act_of(ActKind.LOSS_ACCEPTED, facts=facts))
        typer.echo(f"{data} holds {_totals(report)}; every conversation has a new epoch")


def version() -> None:
    """Print the version."""
    typer.echo(f"imserver {imserver.__version__}")


def _totals(report: "Report") -> str:
    return f"{report.conversations} conversations, {report.events} events"


def _database(data: Path) -> Path:
    database = data / DATABASE_NAME
    if not database.is_file():
        raise CommandFailed(f"there is no store in {data}; name the data directory with --data")
    return database
