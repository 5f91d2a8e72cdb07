"""The contracts between tiers (pyproject.toml, [tool.importlinter]): each goes red when it is broken."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source_tree import ROOT

BREACHES = [
    ("imserver/protocol/names.py", "import imserver.core.clock", "Arrows point one way"),
    ("imserver/core/clock.py", "import imserver.data.store", "Arrows point one way"),
    ("imserver/route/router.py", "import imserver.data.store", "Arrows point one way"),
    ("imserver/data/store.py", "import imserver.logic.send", "Arrows point one way"),
    ("imserver/logic/send.py", "import imserver.access.door", "Arrows point one way"),
    ("imserver/access/door.py", "import imserver.node", "Arrows point one way"),
    ("imserver/stray.py", "", "Arrows point one way"),
    ("client_sdk/robot.py", "import imserver.core.clock", "the SDK sees the protocol only"),
    (
        "imserver/logic/send.py",
        "import imserver.data.sqlite.store",
        "Only the node knows storage engines",
    ),
    ("imserver/access/door.py", "import apsw", "Only the node knows storage engines"),
    ("imserver/verify/logs.py", "import imserver.logic.membership", "shares no code"),
    ("imserver/node.py", "import imserver.verify", "Arrows point one way"),
    ("imserver/core/model.py", "import asyncio", "do no I/O"),
    ("imserver/protocol/codec.py", "import socket", "do no I/O"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages, to be broken."""
    for package in ("imserver", "client_sdk"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_tree_keeps_every_contract(tree: Path) -> None:
    assert "0 broken" in _lint(tree)


@pytest.mark.parametrize(("path", "line", "contract"), BREACHES)
def test_a_breach_is_noticed(tree: Path, path: str, line: str, contract: str) -> None:
    file = tree / path
    old = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(f"{old}\n{line}\n", encoding="utf-8")
    broken = [text for text in _lint(tree).splitlines() if "BROKEN" in text]
    assert any(contract in text for text in broken)


def _lint(tree: Path) -> str:
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    command = [sys.executable, "-c", code, "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=tree, check=False, capture_output=True, text=True)
    return done.stdout + done.stderr
