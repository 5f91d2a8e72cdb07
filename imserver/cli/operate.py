"""``send``, ``fetch``, ``tail``, ``robots``, ``groups``: look into a running server, as one of its clients.

They speak the protocol over WebSocket like any robot, with a bearer token; an admin's token may read and send
everywhere.
"""

import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from imserver.cli.access import Wanted, client_command, device_name
from imserver.cli.failure import CommandFailed, WrongUse
from imserver.cli.listing import JsonOption, json_line, print_rows
from imserver.cli.text import body_text, clock_time, date_time
from imserver.protocol import names

if TYPE_CHECKING:
    from client_sdk import Event, Robot
    from client_sdk.file_calls import Progress

ConversationArgument = Annotated[
    str, typer.Argument(metavar="CONV", help="g/<group> or d/<robot>/<robot>.")
]

PAGE: Final = 500
"""Events asked for at once; the server's own limit is above it unless it is set very low."""
CONNECT_TIMEOUT_S: Final = 5.0


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (send, fetch, tail, robots, groups):
        app.command()(client_command(command))


def send(
    wanted: Wanted,
    conv: ConversationArgument,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The message, or what a file is.")
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Send a file, of which TEXT is the caption."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="TEXT is a JSON value.")] = False,
    kind: Annotated[str, typer.Option(metavar="KIND", help="The kind of the event.")] = "message",
    cid: Annotated[
        str | None,
        typer.Option(metavar="CID", help="Your own name for it: sending it again is safe."),
    ] = None,
) -> None:
    """Send a message, or a file. Prints its place, "CONV SEQ", once it is durable."""
    where = names.conversation(conv)
    if text is None and file is None:
        raise WrongUse("say what to send: TEXT, or --file FILE, or both")
    if file is not None and not file.is_file():
        raise WrongUse(f"there is no file {file}")
    body = None if text is None else _json_value(text) if as_json else text

    async def work(client: "Robot") -> None:
        if file is None:
            sent = await client.send(where, body, kind=kind, cid=cid)
        else:
            caption = {} if body is None else {"caption": body}
            sent = await client.send_file(where, file, body=caption, cid=cid, progress=_shown())
        typer.echo(f"{sent.conv} {sent.seq}")

    _as_client(wanted, work)


def fetch(
    wanted: Wanted,
    conv: ConversationArgument,
    seq: Annotated[int, typer.Argument(metavar="SEQ", min=1, help="The event of kind file.")],
    *,
    to: Annotated[
        str, typer.Option("--to", metavar="PATH", help="A file, or a directory that is there.")
    ] = ".",
) -> None:
    """Fetch the file that an event refers to. Prints where it is, whole and checked."""
    where = names.conversation(conv)

    async def work(client: "Robot") -> None:
        page = await client.history(where, after=seq - 1, limit=1)
        if not page or page[0].seq != seq:
            raise CommandFailed(f"there is no event {seq} in {where}")
        typer.echo(await client.download(page[0], to, progress=_shown()))

    _as_client(wanted, work)


def _shown() -> "Progress | None":
    """Return what shows on a terminal how far a file came."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, size: int) -> None:
        end = "\n" if done >= size else ""
        typer.echo(f"\r{done * 100 // max(size, 1):3d} %", err=True, nl=False)
        typer.echo(end, err=True, nl=False)

    return show


def tail(
    wanted: Wanted,
    conv: ConversationArgument,
    *,
    after: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Begin after this seq; 0 is the whole log."),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Go on with what comes, until Ctrl-C.")] = True,
    lines: Annotated[
        int, typer.Option(metavar="N", min=1, max=PAGE, help="Without --after: the last N.")
    ] = 10,
    as_json: JsonOption = False,
) -> None:
    """Print a conversation's events in order."""
    where = names.conversation(conv)
    show = json_line if as_json else _text_line
    client_log = logging.getLogger("client_sdk")
    client_log.addFilter(Interruptions())
    client_log.setLevel(logging.DEBUG)

    async def work(client: "Robot") -> None:
        async for event in _events(client, where, after=after, lines=lines, follow=follow):
            typer.echo(show(event))

    with contextlib.suppress(KeyboardInterrupt):  # which is how following ends
        _as_client(wanted, work)


class Interruptions(logging.Filter):
    """Says on standard error why nothing comes while there is no connection, once for each reason; of what is
    logged nothing is kept back."""

    _told = ""

    def filter(self, record: logging.LogRecord) -> bool:
        name, facts = record.getMessage(), record.__dict__
        if name == "robot.state" and facts["is"] == "online":
            self._told = ""
        elif name == "robot.disconnected" and facts["state"] == "waiting":
            problem, told = facts["problem"], self._told
            self._told = problem
            if problem != told:
                typer.echo(f"imserver: disconnected, and trying again: {problem}", err=True)
        return True


def robots(wanted: Wanted, *, as_json: JsonOption = False) -> None:
    """List the registered robots, and who of them is online."""

    async def work(client: "Robot") -> None:
        rows = await client.robots()
        cells = [
            (row.robot, "yes" if row.online else "no", date_time(row.registered)) for row in rows
        ]
        print_rows(rows, ("ROBOT", "ONLINE", "REGISTERED (UTC)"), cells, as_json=as_json)

    _as_client(wanted, work)


def groups(wanted: Wanted, *, as_json: JsonOption = False) -> None:
    """List the groups. An admin sees all of them, others see their own."""

    async def work(client: "Robot") -> None:
        rows = await client.groups()
        cells = [(row.conv, str(row.members), str(row.seq), row.role or "-") for row in rows]
        print_rows(rows, ("GROUP", "MEMBERS", "SEQ", "ROLE"), cells, as_json=as_json)

    _as_client(wanted, work)


def _as_client(wanted: Wanted, work: Callable[["Robot"], Awaitable[None]]) -> None:
    import asyncio  # noqa: PLC0415  (this and the client take longer to load than most commands to run)

    from client_sdk import ConnectionLost, Options, Robot  # noqa: PLC0415

    reach = wanted.access()

    async def session() -> None:
        options = Options(
            auto=False, connect_timeout_s=CONNECT_TIMEOUT_S, ca=wanted.ca, pin=wanted.pin
        )
        async with Robot(
            reach.url,
            name=reach.robot,
            bearer=reach.token,
            device=device_name(),
            options=options,
        ) as client:
            await work(client)

    try:
        asyncio.run(session())
    except ValueError as exc:  # the client refuses a value before anything is sent
        raise WrongUse(str(exc)) from None
    except ConnectionLost as exc:
        raise CommandFailed(
            f"{exc}; is a server there, with TLS (https) or without (http)? --url names it"
        ) from None


async def _events(
    client: "Robot", conv: str, *, after: int | None, lines: int, follow: bool
) -> AsyncIterator["Event"]:
    """Yield what ``tail`` prints: from after ``after`` on, or the last ``lines`` and what comes."""
    if after is None:
        page = await client.history(conv, limit=lines)
        for event in page:
            yield event
        after = page[-1].seq if page else 0
        if not follow:
            return
    if follow:
        await client.follow(conv, after=after)
        async for event in client.events():
            yield event
    else:
        while page := await client.history(conv, after=after, limit=PAGE):
            for event in page:
                yield event
            after = page[-1].seq


def _text_line(event: "Event") -> str:
    ref = f" to {event.ref}" if event.ref is not None else ""
    time = clock_time(event.ts)
    return f"{event.seq:>6}  {time}  {event.sender}  {event.kind}{ref}  {body_text(event.body)}"


def _json_value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError as exc:
        raise WrongUse(f"with --json, TEXT must be a JSON value: {exc}") from None
