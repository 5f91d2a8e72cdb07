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

newest_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

if ! python=$(newest_python); then
    tools/install_debian_packages.sh python3 python3-venv
    python=$(newest_python) || fail "Python 3.11 or newer is needed; python3 here is $(python3 --version)."
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    tools/install_debian_packages.sh "python$version-venv"
    "$python" -c 'import ensurepip, venv' || fail "$python cannot make virtual environments."
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
