"""How the commands that are clients of a server reach it, and as whom."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from imserver.cli.failure import WrongUse
from imserver.cli.mint import bearer_token
from imserver.cli.options import DEFAULT_DATA, DEFAULT_URL
from imserver.core import tokens
from imserver.core.errors import Refusal
from imserver.core.scopes import ADMIN
from imserver.data.directory import KEY_NAME

OPERATOR: Final = "operator"
_TTL_MS: Final = 24 * 3_600_000
"""Such a token is for this command alone, and is not put on record."""

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
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca", metavar="FILE", envvar="IMSERVER_CA", help="Who vouches for the server, in PEM."
    ),
]
PinOption = Annotated[
    str | None,
    typer.Option(
        "--pin",
        metavar="SHA256",
        envvar="IMSERVER_PIN",
        help="The server's certificate, by its hash.",
    ),
]


class Access(NamedTuple):
    """A server's address and a bearer token for it, with the name it is for."""

    url: str
    robot: str
    token: str


class Wanted(NamedTuple):
    """The access that was asked for on the command line."""

    url: str
    token: str | None
    data: Path | None
    robot: str
    ca: Path | None
    pin: str | None

    def access(self) -> Access:
        """Return how to reach the server: with the token, or with an admin's minted with the key in ``data``.

        Raises:
            WrongUse: the address or the token is malformed, or there is neither a token nor a key.
        """
        check_url(self.url)
        if self.token:
            return Access(self.url, _name_in(self.token), self.token)
        directory = self.data or DEFAULT_DATA
        if not (directory / KEY_NAME).is_file():
            raise WrongUse(
                f"there is no token, and no key in {directory} to mint one with: give --token (or "
                "IMSERVER_TOKEN), or the server's data directory with --data"
            )
        _, minted = bearer_token(directory, self.robot, ttl_ms=_TTL_MS, scopes=[ADMIN])
        return Access(self.url, self.robot, minted)


def client_command(command: Callable[..., None]) -> Callable[..., None]:
    """Return ``command``, whose first argument is `Wanted`, with the options of an access behind its own."""
    own = list(inspect.signature(command).parameters.values())[1:]
    shared = list(inspect.signature(_wanted).parameters.values())

    @functools.wraps(command)
    def with_access(**values: Any) -> None:
        wanted = _wanted(**{option.name: values.pop(option.name) for option in shared})
        command(wanted, **values)

    with_access.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    return with_access


def _wanted(
    *,
    url: UrlOption = DEFAULT_URL,
    token: TokenOption = None,
    data: KeyDataOption = None,
    robot: AsOption = OPERATOR,
    ca: CaOption = None,
    pin: PinOption = None,
) -> Wanted:
    return Wanted(url, token, data, robot, ca, pin)


def device_name() -> str:
    """Return a device of this process's own, so that commands that run side by side leave each other be."""
    return f"cli-{os.getpid()}"


def check_url(url: str) -> None:
    """Return if ``url`` is the address of a server.

    Raises:
        WrongUse: it is not.
    """
    from client_sdk.address import check_address  # noqa: PLC0415  (loads the client)

    try:
        check_address(url)
    except ValueError as exc:
        raise WrongUse(str(exc)) from None


def _name_in(token: str) -> str:
    try:
        return tokens.unverified(token, kind="bearer").robot
    except Refusal as exc:
        raise WrongUse(exc.message) from None
