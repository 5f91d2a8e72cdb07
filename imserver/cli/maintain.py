"""``check``, ``backup``, ``restore``, ``accept-loss`` and ``version``: look after a deployment."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import imserver
from imserver.cli.failure import CommandFailed
from imserver.cli.keys import KeysOption, ring_if_any
from imserver.cli.options import DEFAULT_DATA, ELSEWHERE, DataOption, StoreOption, is_elsewhere
from imserver.cli.recording import act_of, leave_on_record
from imserver.cli.text import printable
from imserver.core.acts import ActKind, Fact
from imserver.data.directory import DATABASE_NAME, PULSE_NAME, DataDirectory

if TYPE_CHECKING:
    from imserver.core.key_ring import KeyRing
    from imserver.data.findings import Report


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(check)
    app.command()(backup)
    app.command()(restore)
    app.command("accept-loss")(accept_loss)
    app.command()(version)


def check(
    data: DataOption = DEFAULT_DATA, keys: KeysOption = None, store: StoreOption = None
) -> None:
    """Look for damage in the store, such as gaps and doubles. Exit status 1 if there is any."""
    ring = ring_if_any(data, keys)
    report = _check_sqlite(data, ring) if store is None else _check_mongo(store, ring)
    for finding in report.findings:
        places = "; ".join(printable(witness) for witness in finding.witnesses)
        typer.echo(f"{finding.rule}: {finding.count} {finding.meaning}: {places}")
    if report.findings:
        raise CommandFailed(
            f"{report.place} is not sound: {len(report.findings)} rules are broken; "
            "keep a copy of it and restore a backup"
        )
    typer.echo(f"{report.place} is sound: {_totals(report)}")
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
    """Copy the store as it is now into a new directory. A server may run meanwhile; the copy is checked."""
    from imserver.data.sqlite import backup as sqlite_backup  # noqa: PLC0415  (loads the engine)

    if is_elsewhere(data):
        raise CommandFailed(
            f"servers on {data} keep everything in MongoDB: back it up with its own means, such as "
            "`mongodump --oplog`, and copy server.key and sealing.keys from here"
        )
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

    if is_elsewhere(data):
        raise CommandFailed(
            f"servers on {data} keep everything in MongoDB: stop them, put its own backup back with "
            f"mongorestore, then say `imserver accept-loss --store mongodb://… --force --data {data}`"
        )
    ring = ring_if_any(data, keys)
    report = sqlite_backup.restore(source, DataDirectory(data), ring=ring, force=force)
    facts: dict[str, Fact] = {"source": str(source), "events": report.events, "force": int(force)}
    leave_on_record(data, act_of(ActKind.STORE_RESTORED, facts=facts))
    typer.echo(f"{data} holds {_totals(report)}; every conversation has a new epoch")


def accept_loss(
    data: DataOption = DEFAULT_DATA,
    store: StoreOption = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="With --store: a backup was put back there, although nothing of it is to be seen.",
        ),
    ] = False,
) -> None:
    """Go on with a store that lost its end, without a backup. Robots are told what is lost."""
    if store is not None:
        _accept_loss_in_mongo(store, data, force=force)
        return
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


def _check_sqlite(data: Path, ring: "KeyRing | None") -> "Report":
    from imserver.data.sqlite import check as sqlite_check  # noqa: PLC0415  (loads the engine)

    return sqlite_check.check(_database(data), ring)


def _check_mongo(store: str, ring: "KeyRing | None") -> "Report":
    import asyncio  # noqa: PLC0415  (loads the engine, and its driver)

    from imserver.data.mongo import check as mongo_check  # noqa: PLC0415

    return asyncio.run(mongo_check.check(store, ring))


def _accept_loss_in_mongo(store: str, data: Path, *, force: bool) -> None:
    import asyncio  # noqa: PLC0415  (loads the engine, and its driver)

    from imserver.data.mongo import loss  # noqa: PLC0415
    from imserver.data.mongo.pulse import remembered_in  # noqa: PLC0415

    remembered = remembered_in(data / PULSE_NAME)
    act = act_of(ActKind.LOSS_ACCEPTED, facts={"force": int(force)})
    accepted = asyncio.run(loss.accept_loss(store, remembered=remembered, force=force, act=act))
    if accepted is None:
        typer.echo(
            "as far as can be seen, the store has lost nothing; it is as it was. If a backup was put back, "
            "say --force"
        )
    else:
        total = f"{accepted.conversations} conversations, {accepted.events} events"
        typer.echo(f"the store holds {total}; every conversation has a new epoch")


def _totals(report: "Report") -> str:
    return f"{report.conversations} conversations, {report.events} events"


def _database(data: Path) -> Path:
    database = data / DATABASE_NAME
    if is_elsewhere(data):
        raise CommandFailed(ELSEWHERE.format(data))
    if not database.is_file():
        raise CommandFailed(f"there is no store in {data}; name the data directory with --data")
    return database
