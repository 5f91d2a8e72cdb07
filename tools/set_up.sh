#!/usr/bin/env bash
# Makes the virtual environment in .venv and installs the project into it, with the server and what
# development needs. Safe to repeat. Installs Debian's python3 and python3-venv when they are missing and
# this user may; otherwise says what to install.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    printf 'set-up: %s\n' "$*" >&2
    exit 1
}

# The system's Python comes first: distributions build theirs along the profile of a run, with which the server
# does a fifth more than with one built without (docs/performance.md). PYTHON names another.
system=/usr/bin/python3

is_new() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

makes_environments() {
    is_new "$1" && "$1" -c 'import ensurepip, venv' 2>/dev/null
}

find_python() {
    local name
    for name in ${PYTHON:-"$system" python3 python3.14 python3.13 python3.12 python3.11}; do
        if makes_environments "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

if is_new "$system" && ! makes_environments "$system"; then
    tools/install_debian_packages.sh python3-venv 2>/dev/null || true
fi
if ! python=$(find_python); then
    [ -n "${PYTHON:-}" ] || tools/install_debian_packages.sh python3 python3-venv
    python=$(find_python) ||
        fail "${PYTHON:-python3} has to be Python 3.11 or newer, and able to make virtual environments."
fi

# The scripts of an environment name the folder it was made in: that of a copied project is no good here.
if [ -e .venv/.ready ] && [ "$(cat .venv/.ready)" != "$PWD" ]; then
    rm -rf .venv
fi

if ! .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "set-up: making a virtual environment in .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi

echo "set-up: installing the packages of pyproject.toml into .venv"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --editable '.[server,cluster,dev]' ||
    fail "pip could not install the packages (see above). Is the package index reachable from here?"
