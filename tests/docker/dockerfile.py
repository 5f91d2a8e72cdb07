"""A Dockerfile, read and carried out without Docker: in one folder that stands for the image's root."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = ROOT / "docker" / "Dockerfile"
IGNORED: Final = ROOT / ".dockerignore"
_PLACES: Final = re.compile(r"(?<![\w./-])/(?=(src|wheels|opt/imserver|data)\b)")


class Step(NamedTuple):
    """An instruction: its name, and what stands behind it."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """What stands behind it, in words or as a list in JSON."""
        found: list[str]
        found = json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)
        return found


def steps(path: Path = DOCKERFILE) -> list[Step]:
    """Return the instructions of a Dockerfile."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [Step(*line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]


def last_stage(path: Path = DOCKERFILE) -> list[Step]:
    """Return the instructions of the stage that becomes the image."""
    found = steps(path)
    begins = max(number for number, step in enumerate(found) if step.name == "FROM")
    return found[begins:]


def environment(found: Sequence[Step]) -> dict[str, str]:
    """Return the variables that a stage sets."""
    pairs = [step.text.partition("=") for step in found if step.name == "ENV"]
    return {name: value for name, _, value in pairs}


def context() -> set[str]:
    """Return the files that Docker would be given, less those that .dockerignore leaves out."""
    lines = IGNORED.read_text(encoding="utf-8").split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in listed.stdout.splitlines() if _is_given(name, rules)}


def _is_given(name: str, rules: Sequence[str]) -> bool:
    is_given = True
    for rule in rules:
        pattern = rule.removeprefix("!").removeprefix("**/")
        parts = Path(name).parts
        matches = any(
            fnmatch.fnmatch("/".join(parts[:n]), pattern) for n in range(1, len(parts) + 1)
        )
        if rule.startswith("**/"):
            matches = any(fnmatch.fnmatch(part, pattern) for part in parts)
        if matches:
            is_given = rule.startswith("!")
    return is_given


class Image:
    """What the steps of a Dockerfile make, in a folder.

    Attributes:
        skipped: steps that would change this machine.
        uid: of the user that the image makes for itself.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.skipped: list[Step] = []
        self.uid = 0
        self._cwd = root
        self._given = context()
        self._shims = root / "shims"
        self._make_shims()

    def build(self) -> None:
        """Carry out all steps, as far as they make something.

        Raises:
            subprocess.CalledProcessError: one failed.
        """
        for step in steps():
            match step.name:
                case "WORKDIR":
                    self._cwd = Path(self.placed(step.text))
                    self._cwd.mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self._copy(step.words)
                case "RUN":
                    self._run(step)

    def placed(self, text: str) -> str:
        """Return a text in which the paths of the image are those of here."""
        return _PLACES.sub(f"{self.root}/", text)

    def variables(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a process of the image."""
        own = {name: self.placed(value) for name, value in environment(last_stage()).items()}
        own["PATH"] = own["PATH"].replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
        return {"HOME": self.placed("/data"), **own, **more}

    def command(self, name: str) -> list[str]:
        """Return the words of the last stage's ``CMD`` or ``HEALTHCHECK``, with the program found."""
        (step,) = (step for step in last_stage() if step.name == name)
        words = step.words if name == "CMD" else Step("CMD", step.text.partition("CMD ")[2]).words
        return [self.placed(f"/opt/imserver/bin/{words[0]}"), *words[1:]]

    def _copy(self, words: list[str]) -> None:
        if words[0].startswith("--from="):
            assert words[1] == words[2], "there is one folder for all stages"
            assert Path(self.placed(words[1])).exists(), words
            return
        *sources, _ = words
        for name in sorted(self._given):
            if any(name == source or name.startswith(f"{source}/") for source in sources):
                target = self._cwd / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
        assert all((self._cwd / source).exists() for source in sources), sources

    def _run(self, step: Step) -> None:
        words = step.words
        if words[0] == "useradd":  # no user is made here; its number is what counts
            self.uid = int(words[words.index("--uid") + 1])
            self.skipped.append(step)
        elif words[0] == "install":
            folder = Path(self.placed(words[-1]))
            folder.mkdir(mode=int(words[words.index("-m") + 1], 8), exist_ok=True)
            if os.geteuid() == 0:
                os.chown(folder, self.uid, self.uid)
        else:
            variables = {**os.environ, "PATH": f"{self._shims}:{os.environ['PATH']}"}
            variables.pop("PYTHONPATH", None)
            subprocess.run(
                self.placed(step.text), shell=True, cwd=self._cwd, env=variables, check=True
            )

    def _make_shims(self) -> None:
        """Have the programs of a Python image on the path: ``python`` and ``pip``."""
        self._shims.mkdir(parents=True)
        pip = f"{shlex.quote(sys.executable)} -m pip"
        for name, program in (("python", shlex.quote(interpreter())), ("pip", pip)):
            shim = self._shims / name
            shim.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            shim.chmod(0o755)


def interpreter() -> str:
    """Return a Python that every user can run and that makes environments, or else the one that runs this."""
    for path in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        is_for_all = all(folder.stat().st_mode & 0o001 for folder in path.parents)
        asked = "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))"
        if is_for_all and subprocess.run([path, "-c", asked], check=False).returncode == 0:
            return str(path)
    return sys.executable
