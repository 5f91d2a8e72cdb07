"""Names and openings of files: a newcomer finds a subject by its name, and reads first what it is for."""

import ast
import re
import sys

from tests.house.source_tree import PRODUCT, parse, python_files, relative, text_files

DUMPING_GROUNDS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
IN_PROTOCOL = {"msgspec", "imserver"}
# A path of somebody's machine, or the host of a registry: the project must not depend on either.
MACHINE_BOUND = re.compile(
    r"(?<![\w.])/(home|root|Users|mnt|work)/[\w.-]"
    r"|\b(pypi|files\.pythonhosted|registry\.npmjs|proxy\.golang|deb\.debian|index\.docker)\.(org|io)\b"
    r"|--(extra-)?index-url|--find-links"
)


def test_no_file_is_a_dumping_ground() -> None:
    named = [relative(p) for p in python_files(*PRODUCT, "tests") if p.stem in DUMPING_GROUNDS]
    assert not named, f"name these after their subject: {named}"


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        relative(path)
        for path in python_files(*PRODUCT, "tests")
        if not path.name.startswith("test_")  # the names of its tests say what a test file is for
        and path.read_text(encoding="utf-8").strip()
        and not ast.get_docstring(parse(path))
    ]
    assert not silent, f"open these with a docstring: {silent}"


def test_the_protocol_depends_on_msgspec_alone() -> None:
    imported = {
        name.partition(".")[0]
        for path in python_files("imserver/protocol")
        for name in _imports(parse(path))
    }
    foreign = imported - IN_PROTOCOL - sys.stdlib_module_names
    assert not foreign, f"the protocol is shared with every client and must stay light: {foreign}"


def test_no_file_depends_on_a_machine_or_a_registry() -> None:
    this_file = "tests/house/test_names.py"
    bound = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in text_files()
        if relative(path) != this_file
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_BOUND.search(line)
    ]
    assert not bound, "\n".join(bound)


def _imports(module: ast.Module) -> list[str]:
    names: list[str] = []
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names
