"""mosquitto: QoS 0, and QoS 1 for a robot with a persistent session that is away."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from bench.cluster_server import Running
from bench.peers import program
from bench.process import Place, Server
from tests.ports import free_port


class Mosquitto(Struct, frozen=True):
    """mosquitto. Nothing it holds is dropped: queues have no limit, as the log of a group has none."""

    name: str
    qos: int
    saved: bool = False
    in_flight: int = 128
    dialect: str = "mqtt"

    @property
    def options(self) -> dict[str, str]:
        """The quality of service of what is published."""
        return {"qos": str(self.qos)}

    def missing(self) -> str | None:
        return program.missing("mosquitto")

    def version(self) -> str:
        return program.version("mosquitto", "-h")

    def settings(self) -> dict[str, str]:
        return dict(line.split(" ", 1) for line in self._lines())

    def _lines(self) -> list[str]:
        lines = [
            "allow_anonymous true",
            "set_tcp_nodelay true",
            "max_queued_messages 0",
            "max_inflight_messages 0",
        ]
        if self.saved:
            # After every change: as close as it comes to having written what it answers for.
            lines += ["persistence true", "autosave_on_changes true", "autosave_interval 1"]
        elif self.qos:
            lines += ["persistence true", "autosave_interval 1800"]
        return lines

    def start(self, directory: Path, place: Place) -> Server:
        port = free_port()
        configuration = directory / "mosquitto.conf"
        lines = [f"listener {port} 127.0.0.1", f"persistence_location {directory}/", "user root"]
        configuration.write_text("\n".join([*lines, *self._lines(), ""]))
        server = Server(
            [program.path_of("mosquitto"), "-c", str(configuration)],
            port=port,
            directory=directory,
            place=place,
        )
        server.wait_listening()
        return server

    def tokens(self, server: Running, robots: Sequence[str]) -> dict[str, str]:
        return {}
