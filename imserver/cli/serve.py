"""``serve`` and ``check-config``: run a server, and show what it would run with."""

import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from imserver.cli.failure import CommandFailed, WrongUse
from imserver.cli.mint import bearer_token
from imserver.core import settings
from imserver.core.settings import Settings
from imserver.data.directory import DataDirectory

_ADMIN_TTL_MS = 30 * 86_400_000

ListenOption = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where to listen (server.listen).")
]
ServerDataOption = Annotated[
    str | None, typer.Option(metavar="DIR", help="The data directory (server.data).")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A configuration file in TOML.")
]
DurabilityOption = Annotated[
    str | None, typer.Option(metavar="full|os", help="When an event is acked (store.durability).")
]
LogLevelOption = Annotated[
    str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error (log.level).")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, such as limits.page_max=500."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(serve)
    app.command("check-config")(check_config)


def serve(
    *,
    listen: ListenOption = None,
    data: ServerDataOption = None,
    config: ConfigOption = None,
    durability: DurabilityOption = None,
    log_level: LogLevelOption = None,
    set_: SetOption = None,
) -> None:
    """Run a server until SIGTERM or Ctrl-C; prints one line, "ready URL", when it takes connections."""
    flags = {"server.listen": listen, "server.data": data, "store.durability": durability}
    in_force = _settings(config, {**flags, "log.level": log_level}, set_ or [])
    _run(in_force)


def check_config(
    *,
    listen: ListenOption = None,
    data: ServerDataOption = None,
    config: ConfigOption = None,
    durability: DurabilityOption = None,
    log_level: LogLevelOption = None,
    set_: SetOption = None,
) -> None:
    """Print every setting that serve would run with, as a configuration file."""
    flags = {"server.listen": listen, "server.data": data, "store.durability": durability}
    in_force = _settings(config, {**flags, "log.level": log_level}, set_ or [])
    typer.echo(settings.to_toml(in_force), nl=False)


def _settings(config: Path | None, flags: dict[str, str | None], pairs: list[str]) -> Settings:
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise WrongUse(f"--set {pair!r} must be KEY=VALUE, such as limits.page_max=500")
        flags[key.strip()] = value
    return settings.load(toml=_text(config), environ=os.environ, flags=flags)


def _text(config: Path | None) -> str:
    if config is None:
        return ""
    try:
        return config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise WrongUse(f"configuration file {config} cannot be read: {reason}") from None


def _run(in_force: Settings) -> None:
    # Imported here: uvloop and the node's engines take longer to load than `imserver token` to run.
    import asyncio  # noqa: PLC0415

    import uvloop  # noqa: PLC0415

    from imserver import node  # noqa: PLC0415
    from imserver.cli.logs import logging_to_stderr  # noqa: PLC0415

    is_first = not DataDirectory(in_force.server.data).database_path.exists()

    def on_ready(url: str) -> None:
        if is_first:
            _print_admin_token(in_force)
        typer.echo(f"ready {url}")

    with (
        logging_to_stderr(in_force.log),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop,
    ):
        try:
            loop.run(node.serve(in_force, on_ready=on_ready))
        except KeyboardInterrupt:
            return  # Ctrl-C before the node took the signals over: nothing was begun
        except OSError as exc:
            reason = (exc.strerror or str(exc)).partition(" (while")[0]
            raise CommandFailed(f"cannot serve on {in_force.server.listen}: {reason}") from exc


def _print_admin_token(in_force: Settings) -> None:
    token = bearer_token(Path(in_force.server.data), "admin", ttl_ms=_ADMIN_TTL_MS, admin=True)
    if in_force.log.format == "json":
        notice = {"event": "node.new_deployment", "admin_token": token}
        typer.echo(msgspec.json.encode(notice), err=True)
        return
    typer.echo(
        "A new deployment. Its admin token, good for 30 days and shown this once "
        f"(`imserver token --admin` makes others):\n{token}",
        err=True,
    )
