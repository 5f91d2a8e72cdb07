"""``tokens``, ``revoke`` and ``audit``: who may come in, and what was done, beside the data directory.

They need no network: a running server takes in within a moment what they did, and without one they do it.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
import typer

from imserver.cli.failure import CommandFailed, WrongUse
from imserver.cli.listing import JsonOption, print_rows
from imserver.cli.options import DEFAULT_DATA, DataOption
from imserver.cli.recording import act_of
from imserver.cli.text import date_time, printable
from imserver.core import tokens as token_format
from imserver.core.acts import Act, ActKind, RecordedAct, RobotEnded, TokenEnded, TokenRecord
from imserver.core.errors import Refusal
from imserver.data.directory import DATABASE_NAME, DataDirectory
from imserver.protocol import names

if TYPE_CHECKING:
    from imserver.data.sqlite.office import Office

T = TypeVar("T")
PAGE: Final = 500


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (tokens, revoke, audit):
        app.command()(command)


def tokens(
    data: DataOption = DEFAULT_DATA,
    robot: Annotated[
        str | None, typer.Option(metavar="NAME", help="Those of this robot alone.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List the tokens that have not expired. The tokens themselves are not kept."""
    name = None if robot is None else names.robot_name(robot)

    async def ask(office: "Office") -> list[TokenRecord]:
        found: list[TokenRecord] = []
        while page := await office.administration.tokens(
            robot=name, after=found[-1].id if found else "", limit=PAGE
        ):
            found += page
        return found

    rows = _in_office(data, ask)
    header = ("ID", "KIND", "ROBOT", "GOOD FOR", "EXPIRES (UTC)", "STATE")
    print_rows(rows, header, [_token_cells(row) for row in rows], as_json=as_json)


def revoke(
    token_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The id of a token, as `tokens` shows it.")
    ] = None,
    data: DataOption = DEFAULT_DATA,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="The token itself instead of its id.")
    ] = None,
    robot: Annotated[
        str | None, typer.Option(metavar="NAME", help="A robot: its key, and all its tokens.")
    ] = None,
) -> None:
    """End a token, or a robot's key and tokens. What was opened with them ends within a second."""
    if sum(given is not None for given in (token_id, token, robot)) != 1:
        raise WrongUse("name one thing to revoke: the ID of a token, --token TOKEN or --robot NAME")

    async def do(office: "Office") -> Act:
        if robot is not None:
            act = await _end_robot(office, robot)
        elif token is not None:
            act = _end_shown_token(token)
        else:
            act = await _end_token(office, token_id or "")
        await office.perform([act])
        return act

    act = _in_office(data, do)
    about = f"robot {act.robot}" if robot is not None else f"token {act.token_id} of {act.robot}"
    typer.echo(f"{about} is revoked")


def audit(
    data: DataOption = DEFAULT_DATA,
    lines: Annotated[int, typer.Option(metavar="N", min=1, help="The last N acts.")] = 50,
    *,
    as_json: JsonOption = False,
) -> None:
    """Print what was done to the deployment, by whom and when. The newest comes last."""

    async def ask(office: "Office") -> list[RecordedAct]:
        found: list[RecordedAct] = []
        while len(found) < lines and (
            page := await office.administration.acts(
                before=found[-1].number if found else None, limit=min(PAGE, lines - len(found))
            )
        ):
            found += page
        return found[::-1]

    rows = _in_office(data, ask)
    header = ("TIME (UTC)", "BY", "ACT", "ROBOT", "TOKEN", "WHAT ELSE")
    print_rows(rows, header, [_act_cells(row) for row in rows], as_json=as_json)


def _in_office(data: Path, work: Callable[["Office"], Awaitable[T]]) -> T:
    import asyncio  # noqa: PLC0415  (this and the engine take longer to load than most commands to run)

    from imserver.data.sqlite.office import office  # noqa: PLC0415

    if not (data / DATABASE_NAME).is_file():
        raise CommandFailed(
            f"there is no store in {data}; name the data directory with --data, or ask over HTTP where the "
            "store is elsewhere"
        )

    async def enter() -> T:
        async with office(DataDirectory(data)) as open_office:
            return await work(open_office)

    return asyncio.run(enter())


async def _end_robot(office: "Office", robot: str) -> Act:
    name = names.robot_name(robot)
    if await office.robot(name) is None:
        raise CommandFailed(f"robot {name!r} is not registered here; see `imserver robots`")
    return act_of(ActKind.ROBOT_REVOKED, robot=name, change=RobotEnded())


async def _end_token(office: "Office", token_id: str) -> Act:
    record = await office.administration.token(token_id)
    if record is None:
        raise CommandFailed(
            f"no token {printable(names.clip(token_id))!r} is on record; see `imserver tokens`, or give the "
            "token itself with --token"
        )
    change = TokenEnded(record.expires_ms)
    return act_of(ActKind.REVOKED, robot=record.robot, token_id=record.id, change=change)


def _end_shown_token(token: str) -> Act:
    try:
        claims = token_format.unverified(token, kind="bearer")
    except Refusal as exc:
        raise WrongUse(exc.message) from None
    name = names.robot_name(claims.robot)
    change = TokenEnded(claims.expires_ms)
    return act_of(ActKind.REVOKED, robot=name, token_id=claims.id, change=change)


def _token_cells(row: TokenRecord) -> tuple[str, ...]:
    good_for = ",".join(row.scopes or row.groups) or "-"
    state = "good"
    if row.revoked_ms is not None:
        state = "revoked"
    elif row.spent:
        state = "spent"
    return (row.id, row.kind or "-", row.robot, good_for, date_time(row.expires_ms), state)


def _act_cells(row: RecordedAct) -> tuple[str, ...]:
    facts = msgspec.json.encode(row.facts).decode() if row.facts else ""
    time = date_time(row.at_ms)
    return (
        time,
        printable(row.by),
        row.kind.value,
        row.robot or "-",
        row.token_id or "-",
        printable(facts),
    )
