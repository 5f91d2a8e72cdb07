"""``nodes`` and ``health``: ask a server over HTTP which nodes there are, and whether it is well.

``health`` is for supervisors: container engines, load balancers, scripts that wait for a server.
"""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from imserver.cli.access import CaOption, PinOption, UrlOption, Wanted, check_url, client_command
from imserver.cli.failure import CommandFailed, WrongUse
from imserver.cli.listing import JsonOption, print_rows
from imserver.cli.options import DEFAULT_URL
from imserver.cli.text import date_time, printable

if TYPE_CHECKING:
    from client_sdk.options import Options

_HEADER = ("NODE", "ADDRESS", "SINCE (UTC)", "ROBOTS", "CONNECTIONS", "STATE", "VERSION")
_TIMEOUT_S = 5.0


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(client_command(nodes))
    app.command()(health)


def nodes(
    wanted: Wanted,
    *,
    as_json: JsonOption = False,
) -> None:
    """List the nodes of the deployment, as an admin. One that runs alone shows itself."""
    reach = wanted.access()
    options = _options(wanted.ca, wanted.pin)
    answer = _get(reach.url, "/v1/nodes", options, {"Authorization": f"Bearer {reach.token}"})
    rows: list[dict[str, Any]] = msgspec.json.decode(answer)["nodes"]
    print_rows(rows, _HEADER, [_cells(row) for row in rows], as_json=as_json)


def health(
    *,
    url: UrlOption = DEFAULT_URL,
    ready: Annotated[
        bool,
        typer.Option("--ready", help="Also ask whether it reaches its store and is not draining."),
    ] = False,
    ca: CaOption = None,
    pin: PinOption = None,
) -> None:
    """Ask a server whether it is well. Prints what it answers; exit status 1 if it is not."""
    from client_sdk.errors import Refused  # noqa: PLC0415  (loads the client)

    try:
        answer = _get(url, "/readyz" if ready else "/healthz", _options(ca, pin), {})
    except Refused as exc:
        raise CommandFailed(f"{url} is not well: {exc}") from None
    typer.echo(printable(answer.decode(errors="replace").strip()))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        printable(row["node"]),
        printable(row["url"]) or "-",
        date_time(row["started_ms"]),
        str(row["robots"]),
        str(row["connections"]),
        "draining" if row["draining"] else "serving",
        printable(row["version"]),
    )


def _options(ca: Any, pin: str | None) -> "Options":
    from client_sdk.options import Options  # noqa: PLC0415  (loads the client)

    return Options(ca=ca, pin=pin, request_timeout_s=_TIMEOUT_S)


def _get(url: str, path: str, options: "Options", headers: dict[str, str]) -> bytes:
    import asyncio  # noqa: PLC0415  (this and the client take longer to load than most commands to run)

    from client_sdk.web import Cut, Request, Web  # noqa: PLC0415  (loads the client)

    check_url(url)
    if url.startswith("tcp"):
        raise WrongUse(f"{url} is for raw TCP; name the server's HTTP port, as in http://host:7400")
    body = bytearray()
    try:
        web = Web(url, options)
    except ValueError as exc:
        raise WrongUse(str(exc)) from None
    try:
        asyncio.run(web.ask(Request("GET", path, headers, take=body.extend)))
    except Cut as exc:
        raise CommandFailed(f"{url} is not well: {exc}") from None
    return bytes(body)
