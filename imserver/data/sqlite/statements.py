"""Loads the named SQL statements of this folder's ``.sql`` files.

A statement begins at a line ``-- name: <name>`` and ends where the next one begins; comments under the name
describe it. Called once per file, when the module that runs the statements is imported.
"""

from importlib.resources import files
from typing import Final

_MARK: Final = "-- name: "


def load_statements(package: str, file_name: str) -> dict[str, str]:
    """Return the statements of a file by name, without their comments.

    Raises:
        ValueError: a name stands twice.
    """
    statements: dict[str, str] = {}
    for part in load_script(package, file_name).split(_MARK)[1:]:
        name, _, text = part.partition("\n")
        if name in statements:
            raise ValueError(f"{file_name} has two statements named {name!r}")
        lines = (line for line in text.splitlines() if not line.startswith("--"))
        statements[name] = "\n".join(lines).strip().removesuffix(";")
    return statements


def load_script(package: str, file_name: str) -> str:
    """Return the text of a ``.sql`` file of an engine's package."""
    return (files(package) / file_name).read_text()
