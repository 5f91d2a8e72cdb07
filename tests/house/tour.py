"""Takes the README's tour: writes its programs, runs its commands, keeps what they print."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.house.source_tree import ROOT
from tests.ports import free_port

DEADLINE_S = 30.0
READY = {"imserver serve": "ready http://", "python picker.py": "g/dock 1 "}
"""The commands that run until they are stopped, and what they print once the next one may come."""

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str


class Tour:
    """A folder, a port, and what was started there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._running: list[subprocess.Popen[bytes]] = []
        self._printed: list[tuple[str, Path]] = []

    def take(self, block: Block) -> None:
        """Do what a block says: save a program, or run commands one after the other."""
        text = block.text.replace("127.0.0.1:7400", f"127.0.0.1:{self._port}")
        if block.language == "python":
            name = text.splitlines()[0].removeprefix("# ")
            (self._folder / name).write_text(text, encoding="utf-8")
        elif block.language == "sh":
            for command in text.splitlines():
                self.run(command)

    def run(self, command: str) -> None:
        """Run a command to its end, or until it is ready if it has none."""
        process = self._start(command)
        ready = next((text for begins, text in READY.items() if command.startswith(begins)), None)
        if ready is not None:
            self._running.append(process)
            self.wait_for(command, ready, process)
            return
        try:
            status = process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        assert status == 0, f"{command}: exit status {status}: {self.output(command)}"

    def output(self, command: str) -> str:
        """Return what the last command that begins like this has printed."""
        path = next(path for run, path in reversed(self._printed) if run.startswith(command))
        return path.read_text(encoding="utf-8")

    def wait_for(
        self, command: str, text: str, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        """Return when a command, which is run by ``process``, has printed ``text``."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.output(command):
            in_time = time.monotonic() < deadline and (process is None or process.poll() is None)
            assert in_time, f"{command}: no {text!r} in {self.output(command)}"
            time.sleep(0.02)

    def end(self) -> None:
        """Stop what still runs, the last started first."""
        for process in reversed(self._running):
            process.terminate()
            process.wait(DEADLINE_S)

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        path = self._folder / f"output-{len(self._printed)}"
        self._printed.append((command, path))
        if command.startswith("imserver serve"):
            command += f" --listen 127.0.0.1:{self._port}"
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "IMSERVER_URL": f"http://127.0.0.1:{self._port}",
        }
        with path.open("wb") as output:
            return subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a Markdown text."""
    return [Block(*found) for found in _BLOCK.findall(page)]


def readme() -> str:
    """Return the README."""
    return (ROOT / "README.md").read_text(encoding="utf-8")
