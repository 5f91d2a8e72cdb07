"""``bench``: measure this server beside others. The bench is a folder of the project, not of the package."""

import subprocess  # nosec B404
import sys
from pathlib import Path
from typing import Final

import typer

import imserver
from imserver.cli.failure import CommandFailed

_PROJECT: Final = Path(imserver.__file__).parents[1]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    everything = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(context_settings=everything, add_help_option=False)(bench)


def bench(context: typer.Context) -> None:
    """Measure this server beside others, for twenty minutes. `imserver bench --help` lists the options."""
    if not (_PROJECT / "bench" / "__main__.py").exists():
        raise CommandFailed(
            "the bench is not part of the installed package: run it in the project's folder, "
            "with `make bench`"
        )
    answer = subprocess.run(  # noqa: S603 - ourselves, with what the user typed # nosec B603
        [sys.executable, "-m", "bench", *context.args], cwd=_PROJECT, check=False
    )
    if answer.returncode:
        raise typer.Exit(answer.returncode)
