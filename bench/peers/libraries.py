"""Servers made of Python libraries: python-socketio's rooms, and websockets' own ``broadcast()``."""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

from bench.cluster_server import Running
from bench.peers.program import ROOT
from bench.process import Place, Server
from tests.ports import free_port


class LibraryServer(Struct, frozen=True):
    """A small server of ours around a library, as the library's documentation shows it, on uvloop."""

    name: str
    package: str
    module: str
    dialect: str
    in_flight: int = 128

    @property
    def options(self) -> dict[str, str]:
        """None."""
        return {}

    def missing(self) -> str | None:
        if importlib.util.find_spec(self.module) is None:
            return f"{self.package} is not installed (make bench-setup installs it)"
        return None

    def version(self) -> str:
        return version(self.package)

    def settings(self) -> dict[str, str]:
        return {"loop": "uvloop", "compression": "none"}

    def start(self, directory: Path, place: Place) -> Server:
        port = free_port()
        server = Server(
            [sys.executable, "-m", f"bench.peers.{self.dialect}_server", str(port)],
            port=port,
            directory=directory,
            place=place,
            environment={"PYTHONPATH": str(ROOT)},
        )
        server.wait_listening()
        return server

    def tokens(self, server: Running, robots: Sequence[str]) -> dict[str, str]:
        return {}
