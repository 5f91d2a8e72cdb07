"""``migrate``: take a deployment from its data directory to MongoDB, or back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imserver.cli.failure import CommandFailed, WrongUse
from imserver.cli.keys import KeysOption, ring_if_any

if TYPE_CHECKING:
    from rich.progress import Progress

    from imserver.core.key_ring import KeyRing
    from imserver.data.mongo.moving import MongoRows
    from imserver.data.moving import Moved, Sealing
    from imserver.data.moving_files import MovedFiles
    from imserver.data.sqlite.moving import SqliteRows

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
    keys: KeysOption = None,
) -> None:
    """Copy a data directory to MongoDB, or back. Everything is compared by digests."""
    import asyncio  # noqa: PLC0415  (most commands need no loop, and no progress to show)

    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    if _is_url(source) == _is_url(target):
        raise WrongUse("--from and --to: one is a data directory, the other a mongodb:// URL")
    if not _is_url(source) and not Path(source).is_dir():
        raise CommandFailed(f"{source} is no directory")
    ring = ring_if_any(Path(target if _is_url(source) else source), keys)
    console = Console(stderr=True)
    quiet = not console.is_terminal  # where it would leave an empty line behind
    with Progress(console=console, transient=True, disable=quiet) as progress:
        moved, files, sealing = asyncio.run(_move(source, target, ring, progress))
    typer.echo(
        f"{moved.conversations} conversations, {moved.events} events; "
        f"the digest of both logs is {moved.digest}"
    )
    if files.files:
        typer.echo(f"{files.files} files, {files.unfinished} of them unfinished uploads")
    if sealing.keys:
        typer.echo(
            f"what is sealed is so still: servers on {_shown(target)} need the key ring with "
            f"{', '.join(sorted(sealing.keys))}"
        )
    if files.unopened:
        typer.echo(
            f"the bytes of {files.unopened} files are sealed, and were compared as they are; with the key "
            "ring (--keys) their digests are checked, too"
        )


async def _move(
    source: str, target: str, ring: "KeyRing | None", progress: "Progress"
) -> "tuple[Moved, MovedFiles, Sealing]":
    from imserver.data.moving import MoveFailed, move, require_keys  # noqa: PLC0415
    from imserver.data.moving_files import move_files  # noqa: PLC0415

    there = await _source(source)
    try:
        sealing, size = await there.sealing(), await there.size()
        require_keys(sealing, ring)
        here = await _target(target)
        try:
            file_bytes = progress.add_task("bytes of files", total=size.file_bytes)
            bars = {word: progress.add_task(word, total=size.events) for word in _WORDS}
            files = await move_files(
                there,
                here,
                ring=ring,
                told=lambda done: progress.update(file_bytes, completed=done),
            )
            moved = await move(
                there, here, told=lambda word, done: progress.update(bars[word], completed=done)
            )
        finally:
            await here.aclose()
    except MoveFailed as exc:
        raise CommandFailed(str(exc)) from exc
    finally:
        await there.aclose()
    return moved, files, sealing


_WORDS = ("copied", "compared")


async def _source(place: str) -> "SqliteRows | MongoRows":
    from imserver.data.directory import DataDirectory  # noqa: PLC0415  (they load the engines)
    from imserver.data.mongo.moving import MongoRows  # noqa: PLC0415
    from imserver.data.sqlite.moving import SqliteRows  # noqa: PLC0415

    if _is_url(place):
        return await MongoRows.source(place)
    return await SqliteRows.source(DataDirectory(place))


async def _target(place: str) -> "SqliteRows | MongoRows":
    from imserver.core.clock import SystemClock  # noqa: PLC0415  (they load the engines)
    from imserver.data.directory import DataDirectory  # noqa: PLC0415
    from imserver.data.mongo.moving import MongoRows  # noqa: PLC0415
    from imserver.data.sqlite.moving import SqliteRows  # noqa: PLC0415

    if _is_url(place):
        return await MongoRows.target(place, now_ms=SystemClock().now_ms())
    return await SqliteRows.target(DataDirectory(place))


def _is_url(place: str) -> bool:
    return place.startswith(("mongodb://", "mongodb+srv://"))


def _shown(place: str) -> str:
    """Return a place without the password that a URL may have."""
    return "MongoDB" if _is_url(place) else place
