"""The project's own files and what stands in them, for the tests of the house rules."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("imserver", "client_sdk", "bench", "examples", "tools")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Named:
    """A function or class, and how the rules call it: ``path::Class.method``."""

    place: str
    node: ast.AST


def python_files(*folders: str) -> list[Path]:
    """Return the Python files of the folders, in order of their names."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def text_files() -> list[Path]:
    """Return every file that is, or is about to be, under version control and holds text."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        names = listed.stdout.splitlines()
    except (FileNotFoundError, subprocess.CalledProcessError):  # an unpacked archive, without git
        tops = [*PRODUCT, "tests", "docs", ".ci", "docker"]
        names = [relative(path) for top in tops for path in (ROOT / top).rglob("*")]
        names += [path.name for path in ROOT.glob("*.*")]
    return [ROOT / name for name in sorted(names) if _is_text(ROOT / name)]


def relative(path: Path) -> str:
    """Return a file's path as the rules and their exceptions write it."""
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def line_count(path: Path) -> int:
    """Return how many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def definitions(path: Path) -> Iterator[Named]:
    """Yield every function and class of a file, also those inside others."""
    yield from _definitions(parse(path), f"{relative(path)}::")


def _definitions(node: ast.AST, prefix: str) -> Iterator[Named]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            place = prefix + child.name
            yield Named(place, child)
            yield from _definitions(child, f"{place}.")
        else:
            yield from _definitions(child, prefix)


def _is_text(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return False
    return True
