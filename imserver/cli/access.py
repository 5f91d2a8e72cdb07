"""How the commands that are clients of a server reach it, and as whom."""

import os
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from imserver.cli.failure import WrongUse
from imserver.cli.mint import bearer_token
from imserver.cli.options import DEFAULT_DATA
from imserver.core import tokens
from imserver.core.errors import Refusal
from imserver.data.directory import KEY_NAME

OPERATOR: Final = "operator"
_TTL_MS: Final = 24 * 3_600_000

UrlOption = Annotated[
    str, typer.Option(metavar="URL", envvar="IMSERVER_URL", help="The server's address.")
]
TokenOption = Annotated[
    str | None,
    typer.Option("--token", metavar="TOKEN", envvar="IMSERVER_TOKEN", help="A bearer token."),
]
KeyDataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Without a token: the server's data directory, to mint one."
    ),
]
AsOption = Annotated[
    str, typer.Option("--robot", metavar="NAME", help="Without a token: the name to act under.")
]


class Access(NamedTuple):
    """A server's address and a bearer token for it, with the name it is for."""

    url: str
    robot: str
    token: str


def access(url: str, *, token: str | None, data: Path | None, robot: str) -> Access:
    """Return how to reach a server: with ``token``, or with an admin token minted with the key in ``data``.

    Raises:
        WrongUse: the address or the token is malformed, or there is neither a token nor a key.
    """
    _check_url(url)
    if token:
        return Access(url, _name_in(token), token)
    directory = data or DEFAULT_DATA
    if not (directory / KEY_NAME).is_file():
        raise WrongUse(
            f"there is no token, and no key in {directory} to mint one with: give --token (or "
            "IMSERVER_TOKEN), or the server's data directory with --data"
        )
    return Access(url, robot, bearer_token(directory, robot, ttl_ms=_TTL_MS, admin=True))


def device_name() -> str:
    """Return a device of this process's own, so that commands that run side by side leave each other be."""
    return f"cli-{os.getpid()}"


def _check_url(url: str) -> None:
    from client_sdk.options import websocket_url  # noqa: PLC0415  (loads the client)

    try:
        websocket_url(url)
    except ValueError as exc:
        raise WrongUse(str(exc)) from None


def _name_in(token: str) -> str:
    try:
        return tokens.unverified(token, kind="bearer").robot
    except Refusal as exc:
        raise WrongUse(exc.message) from None
