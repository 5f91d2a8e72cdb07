"""How big things are, measured as the house rules mean it."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house.source_tree import Function, Named, definitions, line_count, relative

FILE_LINES = 400
TEST_FILE_LINES = 600
FUNCTION_LINES = 50
CLASS_LINES = 250
PUBLIC_METHODS = 12
PORT_METHODS = 8
PARAMETERS = 6
NESTING = 3

# A with block is a scope and no branch: it adds no case that a reader must keep in mind.
_BLOCKS = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.Try, ast.Match)
Excess = tuple[str, str, int, int]
"""A rule, the place that breaks it, how big that is, and how big it may be."""


def excesses(path: Path, file_lines: int) -> Iterator[Excess]:
    """Yield whatever in a file is bigger than its rule allows."""
    found = [("file", relative(path), line_count(path), file_lines)]
    for named in definitions(path):
        found += _of_class(named) if isinstance(named.node, ast.ClassDef) else _of_function(named)
    for rule, place, size, limit in found:
        if size > limit:
            yield rule, place, size, limit


def _of_class(named: Named) -> list[Excess]:
    node = named.node
    assert isinstance(node, ast.ClassDef)
    methods = sum(1 for item in node.body if _is_public_method(item))
    is_port = any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
    return [
        ("class", named.place, _lines(node), CLASS_LINES),
        ("methods", named.place, methods, PORT_METHODS if is_port else PUBLIC_METHODS),
    ]


def _of_function(named: Named) -> list[Excess]:
    node = named.node
    assert isinstance(node, Function)
    return [
        ("function", named.place, _lines(node) - _docstring_lines(node), FUNCTION_LINES),
        ("parameters", named.place, _parameters(node), PARAMETERS),
        ("nesting", named.place, _nesting(node.body), NESTING),
    ]


def _lines(node: ast.ClassDef | Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _docstring_lines(node: Function) -> int:
    first = node.body[0]
    if ast.get_docstring(node) is None or first.end_lineno is None:
        return 0
    return first.end_lineno - first.lineno + 1


def _is_public_method(item: ast.stmt) -> bool:
    if not isinstance(item, Function) or item.name.startswith("_"):
        return False
    decorators = {d.id for d in item.decorator_list if isinstance(d, ast.Name)}
    return not decorators & {"property", "overload"}


def _parameters(node: Function) -> int:
    """Count what callers have to order or remember: collaborators given by keyword to a constructor are
    neither, and a command's options are read by their names."""
    arguments = node.args
    names = [
        a.arg for a in [*arguments.posonlyargs, *arguments.args] if a.arg not in ("self", "cls")
    ]
    if node.name == "__init__":
        return len(names)
    return len(names) + len(arguments.kwonlyargs)


def _nesting(body: list[ast.stmt], depth: int = 0) -> int:
    deepest = depth
    for statement in body:
        if isinstance(statement, Function | ast.ClassDef):
            continue  # measured by itself
        inside = depth + 1 if isinstance(statement, _BLOCKS) else depth
        for block in _blocks_of(statement):
            deepest = max(deepest, _nesting(block, inside))
    return deepest


def _blocks_of(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    if isinstance(statement, ast.Match):
        yield from (case.body for case in statement.cases)
        return
    for name in ("body", "finalbody"):
        yield getattr(statement, name, [])
    for handler in getattr(statement, "handlers", []):
        yield handler.body
    yield from _else_blocks(statement)


def _else_blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    orelse: list[ast.stmt] = getattr(statement, "orelse", [])
    while isinstance(statement, ast.If) and len(orelse) == 1 and isinstance(orelse[0], ast.If):
        yield orelse[0].body  # elif is no deeper than its if
        orelse = orelse[0].orelse
    yield orelse
