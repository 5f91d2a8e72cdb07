#!/usr/bin/env bash
# Installs Debian packages: as root, or through sudo where that asks for no password. Where neither is
# allowed, says which command somebody else has to run.
#
# usage: tools/install_debian_packages.sh PACKAGE…
set -euo pipefail

if ! command -v apt-get >/dev/null; then
    echo "set-up: these Debian packages, or what your system calls them, are missing: $*" >&2
    exit 1
fi

if [ "$(id -u)" = 0 ]; then
    as_root=()
elif sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    echo "set-up: packages are missing, and this user may not install them. Run this, then try again:" >&2
    echo "    sudo apt-get install --yes $*" >&2
    exit 1
fi

quiet_apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get --quiet --quiet --yes "$@" </dev/null >/dev/null
}

echo "set-up: installing Debian packages: $*"
quiet_apt install --no-install-recommends "$@" 2>/dev/null || {
    quiet_apt update
    quiet_apt install --no-install-recommends "$@"
}
