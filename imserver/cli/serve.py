"""``serve`` and ``check-config``: run a server, and show what it would run with."""

from pathlib import Path

import msgspec
import typer

from imserver.cli.failure import CommandFailed
from imserver.cli.mint import bearer_token
from imserver.cli.recording import leave_on_record, whoami
from imserver.cli.server_options import server_command
from imserver.core import settings
from imserver.core.acts import minting
from imserver.core.scopes import ADMIN
from imserver.core.settings import Settings
from imserver.data.directory import DataDirectory

_ADMIN_TTL_MS = 30 * 86_400_000


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(server_command(serve))
    app.command("check-config")(server_command(check_config))


def serve(in_force: Settings) -> None:
    """Run a server until SIGTERM or Ctrl-C. Prints "ready URL" for each port when it takes connections."""
    # Imported here: uvloop and the node's engines take longer to load than `imserver token` to run.
    import asyncio  # noqa: PLC0415

    import uvloop  # noqa: PLC0415

    from imserver import process  # noqa: PLC0415
    from imserver.cli.logs import logging_to_stderr  # noqa: PLC0415

    is_first = not DataDirectory(in_force.server.data).has_served

    def on_ready(urls: list[str]) -> None:
        if is_first:
            _print_admin_token(in_force)
        for url in urls:
            typer.echo(f"ready {url}")

    with (
        logging_to_stderr(in_force.log),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop,
    ):
        try:
            loop.run(process.serve(in_force, on_ready=on_ready))
        except KeyboardInterrupt:
            return  # Ctrl-C before the node took the signals over: nothing was begun
        except OSError as exc:
            reason = (exc.strerror or str(exc)).partition(" (while")[0]
            where = exc.filename or in_force.server.listen
            raise CommandFailed(f"cannot serve on {where}: {reason}") from exc


def check_config(in_force: Settings) -> None:
    """Print the settings that serve would run with. It is a configuration file, without passwords."""
    typer.echo(settings.to_toml(settings.masked(in_force)), nl=False)


def _print_admin_token(in_force: Settings) -> None:
    data = Path(in_force.server.data)
    key = in_force.server.key
    claims, token = bearer_token(data, "admin", ttl_ms=_ADMIN_TTL_MS, scopes=[ADMIN], key=key)
    leave_on_record(data, minting(claims, by=whoami()))
    if in_force.log.format == "json":
        notice = {"event": "node.new_deployment", "admin_token": token}
        typer.echo(msgspec.json.encode(notice), err=True)
        return
    typer.echo(
        "A new deployment. Its admin token, good for 30 days and shown this once "
        f"(`imserver token --admin` makes others):\n{token}",
        err=True,
    )
