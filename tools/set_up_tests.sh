#!/usr/bin/env bash
# Installs the programs that the tests run beside the server, as far as they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/set_up_cluster.sh

missing=()
command -v curl >/dev/null || missing+=(curl)
command -v chromium >/dev/null || missing+=(chromium)
[ "${#missing[@]}" = 0 ] || tools/install_debian_packages.sh "${missing[@]}"
