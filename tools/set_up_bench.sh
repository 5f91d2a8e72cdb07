#!/usr/bin/env bash
# Installs what `make bench` measures imserver against, and builds its load generator. Safe to repeat. What
# cannot be installed here is named, and the bench leaves it out: only the load generator has to be there.
#
# nats-server and Centrifugo are built from their Go modules, at these versions, into build/bench; mosquitto,
# RabbitMQ and Redis come from Debian, where they are missing, and are kept from running as services;
# python-socketio and matplotlib are the extra `bench` of pyproject.toml.
set -uo pipefail
cd "$(dirname "$0")/.."

NATS=github.com/nats-io/nats-server/v2@v2.15.2
CENTRIFUGO=github.com/centrifugal/centrifugo/v5@v5.4.9
built=$PWD/build/bench
mkdir -p "$built"

left_out() {
    printf 'bench: LEFT OUT: %s\n' "$*" >&2
}

# Builds the program of a Go module through a module of its own: that needs no list of the module's versions.
build_module() {
    local name=$1 module=$2 folder
    [ -x "$built/$name" ] && return
    echo "bench: building $module"
    folder=$(mktemp -d)
    (
        cd "$folder" &&
            go mod init bench >/dev/null 2>&1 &&
            go get "$module" >go.log 2>&1 &&
            go build -ldflags "${3-}" -o "$built/$name" "${module%@*}" >>go.log 2>&1
    ) || left_out "$module does not build: $(tail -n 1 "$folder/go.log")"
    rm -rf "$folder"
}

install_service() {
    local package=$1 program=$2
    [ -e "$program" ] && return
    if tools/install_debian_packages.sh "$package"; then
        if command -v systemctl >/dev/null; then
            systemctl disable --now --quiet "$package" 2>/dev/null || true
        fi
    else
        left_out "$package could not be installed"
    fi
}

install_service mosquitto /usr/sbin/mosquitto
install_service redis-server /usr/bin/redis-server
install_service rabbitmq-server /usr/lib/rabbitmq/bin/rabbitmq-server

if ! .venv/bin/python -c 'import matplotlib, socketio' 2>/dev/null; then
    echo "bench: installing python-socketio and matplotlib into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --editable '.[bench]' ||
        left_out "python-socketio and the plots: pip could not install them"
fi

command -v go >/dev/null || tools/install_debian_packages.sh golang-go
if ! command -v go >/dev/null; then
    echo "bench: the load generator needs Go 1.19 or newer to be built (see above)" >&2
    exit 1
fi
build_module nats-server "$NATS"
build_module centrifugo "$CENTRIFUGO" "-X ${CENTRIFUGO%@*}/internal/build.Version=${CENTRIFUGO#*@v}"
(cd bench/loadgen && go build -o "$built/loadgen" .)
