"""The programs of docs/sdk.md and docs/end-to-end.md, run one after the other as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
PROGRAM = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = {
    "connect.py": "robot='r1'",
    "talk.py": "durable as g/dock 2",
    "certain.py": "not sent: not_found",
    "remember.py": "answered 3",
    "blocking.py": "{'task': 'pick', 'shelf': 8}",
    "test_picker.py": "",
    "sealed.py": "r1 main {'task': 'pick', 'shelf': 7}",
}


def test_the_programs_of_the_guide_do_what_it_says(server, tmp_path):
    pages = ("sdk.md", "end-to-end.md")
    programs = PROGRAM.findall("\n".join((ROOT / "docs" / page).read_text() for page in pages))
    assert [name for name, _ in programs] == list(PRINTED)
    environment = {**os.environ, "TOKEN": server.enroll("r1"), "PYTHONPATH": str(ROOT)}
    for name, text in programs:
        (tmp_path / name).write_text(text.replace("ws://127.0.0.1:7400", server.ws_url))
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", name],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert PRINTED[name] in done.stdout, f"{name}: {done.stdout}"
