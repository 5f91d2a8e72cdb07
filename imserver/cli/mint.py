"""``enroll`` and ``token``: mint tokens with the data directory's key, whether a server runs or not.

Also mints the operator's own token for the commands that are clients of a server on this machine.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from imserver.cli.failure import WrongUse
from imserver.cli.options import DEFAULT_DATA, DataOption, RobotOption, duration_ms, parts
from imserver.cli.recording import leave_on_record, whoami
from imserver.core import tokens
from imserver.core.acts import minting
from imserver.core.clock import SystemClock
from imserver.core.ids import RandomIds
from imserver.core.scopes import ADMIN, WHOLE
from imserver.data.directory import DataDirectory


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(enroll)
    app.command()(token)


def enroll(
    robot: RobotOption,
    data: DataOption = DEFAULT_DATA,
    groups: Annotated[
        str, typer.Option(metavar="g/A,g/B", help="Groups that the robot becomes a member of.")
    ] = "",
    ttl: Annotated[
        str, typer.Option(metavar="DURATION", help="How long it is good for: 90s, 15m, 24h, 30d.")
    ] = "1h",
) -> None:
    """Print a token with which a robot registers its key, once."""
    claims, minted = enrolment_token(data, robot, groups=parts(groups), ttl_ms=duration_ms(ttl))
    leave_on_record(data, minting(claims, by=whoami()))
    typer.echo(minted)


def token(
    robot: RobotOption,
    data: DataOption = DEFAULT_DATA,
    ttl: Annotated[
        str, typer.Option(metavar="DURATION", help="How long it is good for: 90s, 15m, 24h, 30d.")
    ] = "24h",
    scope: Annotated[
        str,
        typer.Option(
            metavar="SCOPE,…",
            help="What it is good for, such as read:g/dock or send:*; else all that the robot may do.",
        ),
    ] = "",
    admin: Annotated[
        bool, typer.Option("--admin", help="Lets the bearer act as an owner of every group.")
    ] = False,
) -> None:
    """Print a bearer token, for people, dashboards and scripts."""
    scopes = [*parts(scope), *([ADMIN] if admin else [])] or [WHOLE]
    claims, minted = bearer_token(data, robot, ttl_ms=duration_ms(ttl), scopes=scopes)
    leave_on_record(data, minting(claims, by=whoami()))
    typer.echo(minted)


def enrolment_token(
    data: Path, robot: str, *, groups: list[str], ttl_ms: int
) -> tuple[tokens.Claims, str]:
    """Return an enrolment token of the deployment in ``data``, behind what it says; makes a missing key.

    Raises:
        WrongUse: a name or the lifetime is out of bounds.
        DataDirectoryUnusable: the directory or its key.
    """
    claims = _claims(
        lambda token_id, now_ms: tokens.enrolment(
            robot, token_id=token_id, now_ms=now_ms, ttl_ms=ttl_ms, groups=groups
        )
    )
    return _sign(data, claims)


def bearer_token(
    data: Path, robot: str, *, ttl_ms: int, scopes: Sequence[str], key: str = ""
) -> tuple[tokens.Claims, str]:
    """Return a bearer token of the deployment in ``data``, behind what it says; makes a missing key.

    ``key`` is the file of the deployment's key where that is elsewhere.

    Raises:
        WrongUse: the name, a scope or the lifetime is out of bounds.
        DataDirectoryUnusable: the directory or its key.
    """
    claims = _claims(
        lambda token_id, now_ms: tokens.bearer(
            robot, token_id=token_id, now_ms=now_ms, ttl_ms=ttl_ms, scopes=scopes
        )
    )
    return _sign(data, claims, key)


def _claims(make: Callable[[str, int], tokens.Claims]) -> tokens.Claims:
    try:
        return make(RandomIds().token(), SystemClock().now_ms())
    except ValueError as exc:
        raise WrongUse(str(exc)) from None


def _sign(data: Path, claims: tokens.Claims, key: str = "") -> tuple[tokens.Claims, str]:
    return claims, tokens.TokenAuthority(DataDirectory(data).signing_key(key)).mint(claims)
