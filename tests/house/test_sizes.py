"""Sizes: the tail is watched by machine, so that taste can be spent on names and shape."""

import tomllib
from pathlib import Path

import pytest

from tests.house.sizes import FILE_LINES, TEST_FILE_LINES, Excess, excesses
from tests.house.source_tree import PRODUCT, line_count, python_files, relative

_LIST = Path(__file__).parent / "size_exceptions.toml"


@pytest.fixture(scope="module")
def found() -> list[Excess]:
    return [excess for path in python_files(*PRODUCT) for excess in excesses(path, FILE_LINES)]


@pytest.fixture(scope="module")
def allowed() -> dict[tuple[str, str], int]:
    entries = tomllib.loads(_LIST.read_text(encoding="utf-8"))["exception"]
    assert all(entry["reason"] for entry in entries), "each exception needs its reason"
    return {(entry["rule"], entry["place"]): entry["at_most"] for entry in entries}


def test_nothing_is_bigger_than_its_rule_or_its_exception_allows(
    found: list[Excess], allowed: dict[tuple[str, str], int]
) -> None:
    too_big = [
        f"{place}: {rule} {size}, and {max(limit, allowed.get((rule, place), 0))} is the most"
        for rule, place, size, limit in found
        if size > allowed.get((rule, place), limit)
    ]
    assert not too_big, "\n".join(too_big)


def test_every_exception_is_still_needed_at_its_size(
    found: list[Excess], allowed: dict[tuple[str, str], int]
) -> None:
    sizes = {(rule, place): size for rule, place, size, _ in found}
    idle = [
        f"{rule} {place}"
        for (rule, place), most in allowed.items()
        if sizes.get((rule, place)) != most
    ]
    assert not idle, (
        f"take these exceptions out of {_LIST.name}, or write down the smaller size: {idle}"
    )


def test_test_files_stay_readable() -> None:
    sizes = {relative(path): line_count(path) for path in python_files("tests")}
    too_long = {name: lines for name, lines in sizes.items() if lines > TEST_FILE_LINES}
    assert not too_long, f"split these by subject: {too_long}"


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("x = 1\n" * 401, "file"),
        ("def f():\n" + "    x = 1\n" * 50, "function"),
        ("class A:\n" + "    x = 1\n" * 250, "class"),
        ("class A:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(13)), "methods"),
        (
            "class A(Protocol):\n" + "".join(f"    def m{n}(self): ...\n" for n in range(9)),
            "methods",
        ),
        ("def f(a, b, *, c, d, e, f, g): ...\n", "parameters"),
        (
            "for a in b:\n    pass\ndef f():\n for a in b:\n  if a:\n   while a:\n    if a: pass\n",
            "nesting",
        ),
    ],
)
def test_each_rule_notices_what_breaks_it(
    source: str, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.house.source_tree.ROOT", tmp_path)
    path = tmp_path / "example.py"
    path.write_text(source, encoding="utf-8")
    assert rule in [excess[0] for excess in excesses(path, FILE_LINES)]
