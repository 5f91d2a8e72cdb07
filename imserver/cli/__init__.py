"""The ``imserver`` command: one module a subject, and the one place where errors become exit statuses.

Exit status 0: done. 1: it failed. 2: the command or the configuration is wrong. 130: interrupted. Every error
is one line on standard error. Heavy imports wait inside the commands, so that ``imserver token`` is quick.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from imserver.cli import (
    administer,
    bench,
    cert,
    demo,
    keys,
    maintain,
    migrate,
    mint,
    nodes,
    operate,
    serve,
    verify,
)
from imserver.cli.failure import Failure, first_failure

app = typer.Typer(
    name="imserver",
    help="An instant-messaging server for groups of robots: durable, ordered, exactly once.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        maintain.version()
        raise typer.Exit


@app.callback()
def _before_any_command(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None: ...


for _part in (serve, cert, keys, mint, administer, operate, nodes, maintain, migrate):
    _part.add_to(app)
for _part in (verify, bench, demo):
    _part.add_to(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command, say on standard error what went wrong, and return the exit status."""
    try:
        status = app(list(arguments) or ["--help"], prog_name="imserver", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone (`imserver tail … | head`); the exit must not flush to it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except typer.Exit as exc:
        return exc.exit_code
    except Exception as exc:
        failure = first_failure(exc)
        if failure is None:
            raise
        return _report(failure)
    return status if isinstance(status, int) else 0


def _report(failure: Failure) -> int:
    sys.stdout.flush()
    message = " ".join(failure.message.split())
    print(f"imserver: {message}", file=sys.stderr)
    return failure.status
