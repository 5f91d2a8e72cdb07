#!/usr/bin/env bash
# Installs what `make chaos` breaks things with, where this user may. Without it the run goes on and its
# report names the faults that were left out.
set -uo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v strace >/dev/null || missing+=(strace)
command -v nft >/dev/null || missing+=(nftables)
command -v ip >/dev/null || missing+=(iproute2)
command -v mkfs.ext4 >/dev/null || missing+=(e2fsprogs)
compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || missing+=(libfaketime)

if [ "${#missing[@]}" -gt 0 ] && ! tools/install_debian_packages.sh "${missing[@]}"; then
    echo "chaos: going on without: ${missing[*]}" >&2
fi
