"""Hold what pyproject.toml asks for, and what is installed, against the flaws that are known.

usage: python -m tools.audit

The table is tools/known_flaws.toml, kept by hand: this needs no network. `pip-audit`, where it is installed
and can ask its database, looks further; `make audit` runs it then.
"""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent


def minimums(project: dict[str, Any]) -> dict[str, Version]:
    """Return the least version of each package that the project asks for by name."""
    optional = project["optional-dependencies"]
    texts = [*project["dependencies"], *(text for extra in optional.values() for text in extra)]
    found = {}
    for requirement in map(Requirement, texts):
        for specifier in requirement.specifier:
            if specifier.operator in (">=", "=="):
                found[requirement.name.lower()] = Version(specifier.version)
    return found


def problems(flaws: list[dict[str, str]], asked: dict[str, Version]) -> list[str]:
    """Return what is open: a minimum, or an installed version, from before a flaw was mended."""
    found = []
    for flaw in flaws:
        package, mended = flaw["package"], Version(flaw["mended"])
        why = f"{flaw['id']}: {flaw['what']}; mended in {mended}"
        if package in asked and asked[package] < mended:
            found.append(f"pyproject.toml lets {package} {asked[package]} in ({why})")
        try:
            installed = Version(version(package))
        except PackageNotFoundError:
            continue
        if installed < mended:
            found.append(f"{package} {installed} is installed ({why})")
    return found


def main() -> int:
    """Print what is open; return the exit status."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    flaws = tomllib.loads((ROOT / "tools/known_flaws.toml").read_text())["flaw"]
    found = problems(flaws, minimums(project))
    for problem in found:
        print(problem)
    if not found:
        print(f"dependencies: ok ({len(flaws)} known flaws, none of them open)")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
