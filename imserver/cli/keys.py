"""``keys``: the ring of keys that bodies are sealed with at rest: make, rotate, list and remove them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from imserver.cli.failure import CommandFailed
from imserver.cli.options import DEFAULT_DATA, ELSEWHERE, DataOption, StoreOption, is_elsewhere
from imserver.cli.recording import act_of, leave_on_record
from imserver.core.acts import ActKind
from imserver.core.clock import SystemClock
from imserver.core.key_ring import KeyId, KeyRing
from imserver.data.directory import DataDirectory
from imserver.data.key_ring_file import KeyRingFile

KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="FILE",
        envvar="IMSERVER_SEALING_KEYS",
        help="The key ring, if it is not sealing.keys in the data directory.",
    ),
]
_NEXT = "a server that runs takes it with SIGHUP, and then seals the older bodies anew"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    keys = typer.Typer(help="The keys that bodies are sealed with at rest.", rich_markup_mode=None)
    for command in (new, rotate, remove, wipe, unseal):
        keys.command()(command)
    keys.command("list")(list_keys)
    app.add_typer(keys, name="keys")


def ring_file(data: Path, keys: Path | None) -> KeyRingFile:
    """Return the file of the key ring that belongs to a data directory, whether it exists or not."""
    return KeyRingFile(
        keys or DataDirectory(data).key_ring_path,
        random_bytes=os.urandom,
    )


def ring_if_any(data: Path, keys: Path | None) -> KeyRing | None:
    """Return the key ring of a data directory, or None if it has none.

    Raises:
        KeyRingUnusable: it is damaged or open to others, or ``keys`` names one that is not there.
    """
    if keys is None and not data.is_dir():
        return None
    file = ring_file(data, keys)
    return file.load() if keys is not None or file.path.exists() else None


def new(data: DataOption = DEFAULT_DATA, keys: KeysOption = None) -> None:
    """Make a key ring with its first key. Keep a copy: without it, what it seals is lost."""
    file = ring_file(data, keys)
    key = file.create(now_ms=SystemClock().now_ms())
    _record(data, ActKind.SEALING_KEY_ADDED, key)
    typer.echo(
        f"{key} seals from the next start on with sealing.enabled; keep a copy of {file.path}"
    )


def rotate(data: DataOption = DEFAULT_DATA, keys: KeysOption = None) -> None:
    """Add a key that seals from here on. The others go on to open."""
    file = ring_file(data, keys)
    key = file.rotate(now_ms=SystemClock().now_ms())
    _record(data, ActKind.SEALING_KEY_ADDED, key)
    typer.echo(f"{key} is the key that seals now; {_NEXT}. Keep a copy of {file.path}")


def list_keys(
    data: DataOption = DEFAULT_DATA, keys: KeysOption = None, store: StoreOption = None
) -> None:
    """Print when each key was made, and how many bodies it seals."""
    import datetime as dt  # noqa: PLC0415

    counts, plain = _uses(data, store)
    for record in ring_file(data, keys).records():
        made = dt.datetime.fromtimestamp(record.created_ms / 1_000, dt.UTC)
        bodies = counts.pop(record.id, 0)
        mark = "  current" if record.is_current else ""
        typer.echo(f"{record.id}  {made:%Y-%m-%dT%H:%M:%SZ}  {bodies:>12,} bodies{mark}")
    for key, bodies in counts.items():
        typer.echo(f"{key}  {'not in the ring':20}  {bodies:>12,} bodies")
    if plain:
        typer.echo(f"{'not sealed':30}  {plain:>12,} bodies")


def remove(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As `keys list` shows it.")],
    data: DataOption = DEFAULT_DATA,
    keys: KeysOption = None,
    store: StoreOption = None,
) -> None:
    """Take a key out of the ring for good. Refused while a body is sealed with it."""
    file = ring_file(data, keys)
    if store is not None:
        import asyncio  # noqa: PLC0415  (loads the engine, and its driver)

        from imserver.data.mongo import keys as mongo_keys  # noqa: PLC0415

        asyncio.run(mongo_keys.remove_key(store, file, KeyId(key)))
    elif is_elsewhere(data):
        raise CommandFailed(ELSEWHERE.format(data))
    else:
        from imserver.data.sqlite.keys import remove_key  # noqa: PLC0415  (loads the engine)

        remove_key(DataDirectory(data).database_path, file, KeyId(key))
    _record(data, ActKind.SEALING_KEY_REMOVED, key)
    typer.echo(
        f"{key} is removed; backups that were made before need a copy of {file.path} with it"
    )


def wipe(data: DataOption = DEFAULT_DATA) -> None:
    """Write the store's file anew, without what its free pages hold. No server may run."""
    from imserver.data.sqlite import keys as sqlite_keys  # noqa: PLC0415  (loads the engine)

    sqlite_keys.wipe(_database(data))
    typer.echo(f"{data} holds nothing any more but what can be read from it")


def unseal(data: DataOption = DEFAULT_DATA, keys: KeysOption = None) -> None:
    """Store all bodies as they were, to do without sealing. No server may run."""
    from imserver.data.sqlite import keys as sqlite_keys  # noqa: PLC0415  (loads the engine)

    sqlite_keys.unseal(_database(data), ring_file(data, keys).load())
    leave_on_record(data, act_of(ActKind.STORE_UNSEALED))
    typer.echo(f"no body in {data} is sealed any more; set sealing.enabled to false")


def _uses(data: Path, store: str | None) -> tuple[dict[KeyId, int], int]:
    """Return how many bodies are sealed with each key, and how many are not sealed."""
    if store is not None:
        import asyncio  # noqa: PLC0415  (loads the engine, and its driver)

        from imserver.data.mongo import keys as mongo_keys  # noqa: PLC0415

        in_mongo = asyncio.run(mongo_keys.count(store))
        return dict(in_mongo.keys), in_mongo.plain
    if is_elsewhere(data):
        raise CommandFailed(ELSEWHERE.format(data))
    from imserver.data.sqlite.keys import count_uses  # noqa: PLC0415  (loads the engine)

    database = DataDirectory(data).database_path
    if not database.is_file():
        return {}, 0
    uses = count_uses(database)
    return dict(uses.keys), uses.plain


def _record(data: Path, kind: ActKind, key: str) -> None:
    leave_on_record(data, act_of(kind, facts={"key": key}))


def _database(data: Path) -> Path:
    if is_elsewhere(data):
        raise CommandFailed(
            "this is for the embedded store. In MongoDB bodies stay sealed once they are, and what was there "
            "before is in its free space and oplog until overwritten: move to a new one to be rid of it"
        )
    database = DataDirectory(data).database_path
    if not database.is_file():
        raise CommandFailed(f"there is no store in {data}; name the data directory with --data")
    return database
