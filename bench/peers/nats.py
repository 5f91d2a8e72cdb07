"""nats-server: core subjects, and JetStream with file storage."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from bench.cluster_server import Running
from bench.peers import program
from bench.process import Place, Server
from tests.ports import free_port


class Nats(Struct, frozen=True):
    """nats-server. ``store``: none for core, ``default`` or ``always`` for JetStream's ``sync_interval``."""

    name: str
    store: str | None = None
    in_flight: int = 160

    @property
    def dialect(self) -> str:
        """Core and JetStream differ in how sends are answered and logs are read."""
        return "jetstream" if self.store else "nats"

    @property
    def options(self) -> dict[str, str]:
        """None: the server's settings are in its configuration."""
        return {}

    def missing(self) -> str | None:
        return program.missing("nats-server")

    def version(self) -> str:
        return program.version("nats-server", "--version")

    def settings(self) -> dict[str, str]:
        if not self.store:
            return {"write_deadline": "10s (default)"}
        return {"store": "file", "replicas": "1", "sync_interval": self.store}

    def start(self, directory: Path, place: Place) -> Server:
        port = free_port()
        lines = [f"listen: 127.0.0.1:{port}"]
        if self.store:
            sync = "sync_interval: always" if self.store == "always" else ""
            lines.append(f'jetstream {{\n  store_dir: "{directory}/jetstream"\n  {sync}\n}}')
        configuration = directory / "nats.conf"
        configuration.write_text("\n".join(lines))
        server = Server(
            [program.path_of("nats-server"), "-c", str(configuration)],
            port=port,
            directory=directory,
            place=place,
        )
        server.wait_listening(b"Server is ready")
        return server

    def tokens(self, server: Running, robots: Sequence[str]) -> dict[str, str]:
        return {}
