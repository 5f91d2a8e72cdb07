"""The options that several commands share, and how their texts are read."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from imserver.cli.failure import WrongUse
from imserver.core.server_settings import ServerSettings
from imserver.data.directory import DATABASE_NAME, PULSE_NAME

DEFAULT_DATA: Final = Path(ServerSettings().data)
DEFAULT_URL: Final = "http://127.0.0.1:7400"

DataOption = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="The server's data directory.")
]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="mongodb://…", help="The store, if it is in MongoDB."),
]
RobotOption = Annotated[
    str, typer.Option("--robot", metavar="NAME", help="The robot that the token is for.")
]

ELSEWHERE: Final = (
    "servers on {} keep everything in MongoDB; name it with --store mongodb://…, as `serve` does"
)

_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])")


def is_elsewhere(data: Path) -> bool:
    """Tell whether a data directory is that of a server whose store is in MongoDB."""
    return (data / PULSE_NAME).exists() and not (data / DATABASE_NAME).exists()


def duration_ms(text: str) -> int:
    """Return ``90s``, ``15m``, ``24h`` or ``30d`` in milliseconds.

    Raises:
        WrongUse: it is none of these.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise WrongUse(
            f"{text!r} is no duration; write a number and a unit, such as 90s, 15m, 24h or 30d"
        )
    return int(found[1]) * _UNITS_MS[found[2]]


def parts(text: str) -> list[str]:
    """Return the items of a list whose items are parted by commas."""
    return [item.strip() for item in text.split(",") if item.strip()]
