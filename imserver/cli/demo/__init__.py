"""``demo``: a server and a small fleet of robots that really talk, for people to watch.

A dispatcher posts jobs to a group; pickers claim them, the first claim in the log wins; one robot after the
other goes offline, comes back and catches up. ``board`` is the game they play, ``robots`` and ``fleet`` play
it, ``scene`` tells it, ``view`` shows it, ``child`` is the server.
"""

from typing import Annotated

import typer

from imserver.cli.failure import WrongUse
from imserver.cli.options import DEFAULT_DATA, DataOption
from imserver.core.server_settings import ServerSettings
from imserver.data.directory import KEY_NAME

PICKERS_MAX = 50


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(demo)


def demo(
    *,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the demo's server listens.")
    ] = ServerSettings().listen,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Join this running server instead; --data is its own."),
    ] = None,
    data: DataOption = DEFAULT_DATA,
    robots: Annotated[
        int, typer.Option(metavar="N", min=2, max=PICKERS_MAX, help="How many robots do the jobs.")
    ] = 4,
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", min=1, help="End after this long instead of at Ctrl-C."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="With --seconds: leave the server up until Ctrl-C.")
    ] = False,
) -> None:
    """Run a server and a fleet of robots, until Ctrl-C. They post, claim and do jobs."""
    from imserver.cli.demo import stage  # noqa: PLC0415  (loads client, event loop and view)

    if url is not None and not (data / KEY_NAME).is_file():
        raise WrongUse(
            f"there is no key in {data}: to enrol the robots, name the data directory of the server "
            "at --url with --data"
        )
    stage.perform(
        stage.Plan(listen=listen, url=url, data=data, robots=robots, seconds=seconds, keep=keep)
    )
