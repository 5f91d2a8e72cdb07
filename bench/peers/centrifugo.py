"""Centrifugo with its memory engine and history."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from bench.cluster_server import Running
from bench.peers import program
from bench.process import Place, Server
from tests.ports import free_port

_SETTINGS: Final[dict[str, Any]] = {
    "allow_anonymous_connect_without_token": True,
    "allow_subscribe_for_client": True,
    "allow_subscribe_for_anonymous": True,
    "allow_publish_for_client": True,
    "allow_publish_for_anonymous": True,
    "history_size": 1_000_000,
    "history_ttl": "600s",
    "client_queue_max_size": 64 * 1024 * 1024,
    "client_channel_limit": 10_000,
    "log_level": "error",
}


class Centrifugo(Struct, frozen=True):
    """Centrifugo; clients speak the Protobuf form of its protocol, which costs it less than JSON."""

    name: str = "centrifugo"
    in_flight: int = 128
    dialect: str = "centrifugo"

    @property
    def options(self) -> dict[str, str]:
        """None: the server's settings are in its configuration."""
        return {}

    def missing(self) -> str | None:
        return program.missing("centrifugo")

    def version(self) -> str:
        return program.version("centrifugo", "version")

    def settings(self) -> dict[str, str]:
        return {key: str(value) for key, value in _SETTINGS.items()}

    def start(self, directory: Path, place: Place) -> Server:
        port = free_port()
        configuration = directory / "centrifugo.json"
        configuration.write_bytes(
            msgspec.json.encode({"address": "127.0.0.1", "port": port, **_SETTINGS})
        )
        server = Server(
            [program.path_of("centrifugo"), "--config", str(configuration)],
            port=port,
            directory=directory,
            place=place,
        )
        server.wait_listening()
        return server

    def tokens(self, server: Running, robots: Sequence[str]) -> dict[str, str]:
        return {}
