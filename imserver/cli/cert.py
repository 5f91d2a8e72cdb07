"""``cert``: certificates for development and trials, from an authority of one's own."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Final

import typer

from imserver.cli.failure import WrongUse
from imserver.core.clock import SystemClock
from imserver.protocol.names import robot_name

DEFAULT_FOLDER: Final = Path("imserver-certs")
HOSTS: Final = ("localhost", "127.0.0.1", "::1")

FolderOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")]
HostOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A name or address of the server; as often as needed."),
]
RobotOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="A client's certificate for this robot instead.")
]
DaysOption = Annotated[
    int, typer.Option(metavar="N", min=1, max=3_650, help="How long it is good for.")
]


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(cert)


def cert(
    *,
    out: FolderOption = DEFAULT_FOLDER,
    host: HostOption = None,
    robot: RobotOption = None,
    days: DaysOption = 365,
) -> None:
    """Make a certificate for development. Prints its files, and the SHA-256 to pin it by."""
    # Imported here: it takes longer to load than most commands to run.
    from imserver.cli.authority import CA_CERTIFICATE, Authority, write  # noqa: PLC0415

    if robot is not None and host:
        raise WrongUse(
            "--host is for a server's certificate, --robot for a client's: say one of them"
        )
    now = dt.datetime.fromtimestamp(SystemClock().now_ms() / 1000, dt.UTC)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise WrongUse(f"{out} is no directory; name one, or a new path, with --out") from None
    authority = Authority.in_folder(out, now)
    if robot is None:
        made = authority.for_server(host or HOSTS, now=now, days=days)
    else:
        made = authority.for_robot(robot_name(robot), now=now, days=days)
    path = out / (f"robot-{robot}" if robot else "server")
    write(path.with_name(f"{path.name}.key"), made.key, mode=0o600)
    write(path.with_name(f"{path.name}.pem"), made.certificate, mode=0o644)
    typer.echo(f"cert {path}.pem\nkey {path}.key\nca {out / CA_CERTIFICATE}\nsha256 {made.sha256}")
