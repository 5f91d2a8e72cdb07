"""Redis Streams with an append-only file."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from bench.cluster_server import Running
from bench.peers import program
from bench.process import Place, Server
from tests.ports import free_port


class Redis(Struct, frozen=True):
    """redis-server; ``fsync`` is its ``appendfsync``."""

    name: str
    fsync: str
    in_flight: int = 128
    dialect: str = "redis"

    @property
    def options(self) -> dict[str, str]:
        """None: the server's settings are on its command line."""
        return {}

    def missing(self) -> str | None:
        return program.missing("redis-server")

    def version(self) -> str:
        return program.version("redis-server", "--version")

    def settings(self) -> dict[str, str]:
        return {
            "appendonly": "yes",
            "appendfsync": self.fsync,
            "save": "",
            "protected-mode": "no",  # robots come from several loopback addresses
        }

    def start(self, directory: Path, place: Place) -> Server:
        port = free_port()
        flags = [word for key, value in self.settings().items() for word in (f"--{key}", value)]
        server = Server(
            [
                *(program.path_of("redis-server"), "--bind", "127.0.0.1", "--port", str(port)),
                *("--dir", str(directory), *flags),
            ],
            port=port,
            directory=directory,
            place=place,
        )
        server.wait_listening(b"Ready to accept connections")
        return server

    def tokens(self, server: Running, robots: Sequence[str]) -> dict[str, str]:
        return {}
