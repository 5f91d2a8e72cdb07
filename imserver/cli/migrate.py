"""``migrate``: take a deployment from its data directory to MongoDB, or back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imserver.cli.failure import CommandFailed, WrongUse

if TYPE_CHECKING:
    from rich.progress import Progress

    from imserver.data.moving import Moved

_PLACE = "DIR|mongodb://…"


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(migrate)


def migrate(
    source: Annotated[
        str,
        typer.Option("--from", metavar=_PLACE, help="Where everything is; no server runs on it."),
    ],
    target: Annotated[
        str, typer.Option("--to", metavar=_PLACE, help="Where it goes; nothing is there yet.")
    ],
) -> None:
    """Copy everything from a data directory to MongoDB, or back, and compare the logs by their digest."""
    import asyncio  # noqa: PLC0415  (most commands need no loop, and no progress to show)

    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    if _is_url(source) == _is_url(target):
        raise WrongUse("--from and --to: one is a data directory, the other a mongodb:// URL")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        moved = asyncio.run(_move(source, target, progress))
    typer.echo(
        f"{moved.conversations} conversations, {moved.events} events; "
        f"the digest of both logs is {moved.digest}"
    )


async def _move(source: str, target: str, progress: "Progress") -> "Moved":
    from imserver.data.directory import DataDirectory  # noqa: PLC0415  (they load the engines)
    from imserver.data.mongo.moving import MongoRows  # noqa: PLC0415
    from imserver.data.moving import MoveFailed, move  # noqa: PLC0415
    from imserver.data.sqlite.moving import SqliteRows  # noqa: PLC0415

    if _is_url(target):
        files = SqliteRows.source(DataDirectory(_existing(source)).database_path)
        rows = await MongoRows.target(target)
    else:
        rows = await MongoRows.source(source)
        files = SqliteRows.target(DataDirectory(target).database_path)
    ways = (files, rows) if _is_url(target) else (rows, files)
    try:
        count = await ways[0].count()
        bars = {word: progress.add_task(word, total=count) for word in ("copied", "compared")}
        return await move(
            *ways, told=lambda word, done: progress.update(bars[word], completed=done)
        )
    except MoveFailed as exc:
        raise CommandFailed(str(exc)) from exc
    finally:
        files.close()
        await rows.aclose()


def _is_url(place: str) -> bool:
    return place.startswith(("mongodb://", "mongodb+srv://"))


def _existing(folder: str) -> str:
    if not Path(folder).is_dir():
        raise CommandFailed(f"{folder} is no directory")
    return folder
