"""The port of a peer: a server that the bench starts on loopback, in its best documented setting."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bench.cluster_server import Running
from bench.process import Place


class Peer(Protocol):
    """One server in one setting."""

    @property
    def name(self) -> str:
        """What tables, plots and ``--peer`` call it."""

    @property
    def dialect(self) -> str:
        """How the load generator speaks to it."""

    @property
    def options(self) -> dict[str, str]:
        """What the load generator has to know of the setting."""

    @property
    def in_flight(self) -> int:
        """How many messages a group has on their way, flat out: what suits this server best."""

    def missing(self) -> str | None:
        """Return what is not installed here, for people; None if everything is."""

    def version(self) -> str:
        """Return the version of what is installed."""

    def settings(self) -> dict[str, str]:
        """Return what differs from the server's defaults."""

    def start(self, directory: Path, place: Place) -> Running:
        """Start it with an empty ``directory`` for its data, and return when it is ready.

        Raises:
            ServerFailed: it did not start.
        """

    def tokens(self, server: Running, robots: Sequence[str]) -> dict[str, str]:
        """Return what each robot needs to log in; nothing if everybody may."""
