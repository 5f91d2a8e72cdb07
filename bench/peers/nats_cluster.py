"""nats-server as a cluster of three, with JetStream: a stream of three replicas in file storage."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.cluster_server import ClusterServer, Running
from bench.peers import program
from bench.process import Place, Server
from tests.ports import free_port

_NODES: Final = 3


class NatsCluster(Struct, frozen=True):
    """Three servers; ``sync`` is JetStream's ``sync_interval``: ``default`` or ``always``."""

    name: str
    sync: str
    dialect: str = "jetstream"
    in_flight: int = 32

    @property
    def options(self) -> dict[str, str]:
        """How many replicas its stream has."""
        return {"replicas": str(_NODES)}

    def missing(self) -> str | None:
        return program.missing("nats-server")

    def version(self) -> str:
        return program.version("nats-server", "--version")

    def settings(self) -> dict[str, str]:
        replicas = str(_NODES)
        return {"store": "file", "replicas": replicas, "sync_interval": self.sync}

    def start(self, directory: Path, place: Place) -> Running:
        cluster = ClusterServer(directory)
        ports = [free_port() for _ in range(_NODES)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        try:
            for number, port in enumerate(ports):
                home = directory / f"node{number}"
                home.mkdir()
                node = self._node(home, place, f"n{number}", f"127.0.0.1:{port}", routes)
                cluster.add(node)
                cluster.nodes.append(node)
            cluster.name("nodes", *cluster.nodes)
            for node in cluster.nodes:
                node.wait_listening(b"Server is ready")
        except BaseException:
            cluster.close()
            raise
        return cluster

    def tokens(self, server: Running, robots: Sequence[str]) -> dict[str, str]:
        return {}

    def _node(self, home: Path, place: Place, name: str, listen: str, routes: str) -> Server:
        port = free_port()
        sync = "sync_interval: always" if self.sync == "always" else ""
        configuration = home / "nats.conf"
        configuration.write_text(
            f"listen: 127.0.0.1:{port}\n"
            f"server_name: {name}\n"
            f"cluster {{\n  name: bench\n  listen: {listen}\n  routes: [{routes}]\n}}\n"
            f'jetstream {{\n  store_dir: "{home}/jetstream"\n  {sync}\n}}\n'
        )
        command = [program.path_of("nats-server"), "-c", str(configuration)]
        return Server(command, port=port, directory=home, place=place)
