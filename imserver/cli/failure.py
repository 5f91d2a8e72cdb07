"""Which errors are the user's to read, in one line, and with which exit status.

Everything else is a fault of the program and keeps its traceback, for the report.
"""

from typing import NamedTuple

from typer.exceptions import TyperException

from imserver.core.errors import ImserverError, InvalidSettings
from imserver.protocol.names import InvalidName

FAILED = 1
WRONG_USE = 2
_DRIVER = ("pymongo", "bson")


class Failure(NamedTuple):
    """What to say, and the exit status."""

    message: str
    status: int


class CommandFailed(Exception):
    """A command cannot do its work; the text is for the user."""


class WrongUse(Exception):
    """A command was given something that it cannot take; the text says what would be right."""


def first_failure(error: BaseException) -> Failure | None:
    """Return how to report ``error``, or None if it (or a part of it) is a fault of the program."""
    if isinstance(error, BaseExceptionGroup):
        failures = [first_failure(part) for part in error.exceptions]
        return None if None in failures else failures[0]
    match error:
        case TyperException():
            return Failure(_usage(error), error.exit_code)
        case WrongUse() | InvalidSettings() | InvalidName():
            return Failure(str(error), WRONG_USE)
        case CommandFailed() | ImserverError():
            return Failure(str(error), FAILED)
        case ModuleNotFoundError(name=name) if name and name.partition(".")[0] in _DRIVER:
            needed = "a store in MongoDB needs its driver: pip install 'imserver[server,cluster]'"
            return Failure(needed, FAILED)
        case OSError():
            return Failure(_system(error), FAILED)
    return _client_failure(error)


def _usage(error: TyperException) -> str:
    command = getattr(getattr(error, "ctx", None), "command_path", "imserver")
    text = error.format_message().rstrip(".")
    message = f"{text[:1].lower()}{text[1:]}"
    if message.endswith("?"):
        return f"{message} See {command} --help"
    return f"{message}; see {command} --help"


def _system(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason}: {error.filename}" if error.filename else reason


def _client_failure(error: BaseException) -> Failure | None:
    from client_sdk.errors import RobotError  # noqa: PLC0415  (most commands need no client)

    return Failure(str(error), FAILED) if isinstance(error, RobotError) else None
