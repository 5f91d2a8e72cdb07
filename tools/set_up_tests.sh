#!/usr/bin/env bash
# Installs the programs that the tests run beside the server, as far as they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v curl >/dev/null || missing+=(curl)
command -v redis-server >/dev/null || missing+=(redis-server)
[ "${#missing[@]}" = 0 ] && exit 0
tools/install_debian_packages.sh "${missing[@]}"
# The tests start their own: what Debian starts as a service is not for them.
case " ${missing[*]} " in
*" redis-server "*) systemctl disable --now --quiet redis-server 2>/dev/null || true ;;
esac
