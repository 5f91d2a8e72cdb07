"""A server that is several processes: started one by one, seen as one, and ended together."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from bench.process import Server


class Running(Protocol):
    """What has been started: one process or several.

    Attributes:
        port: where robots connect, and to whom else is asked first.
        ports: of all nodes, among which robots are spread; empty for a single server.
        pid: the process that stands for all.
        parts: the processes by what they are; empty for a single server.
        directory: where it keeps what it keeps.
    """

    @property
    def port(self) -> int: ...
    @property
    def ports(self) -> Sequence[int]: ...
    @property
    def pid(self) -> int: ...
    @property
    def parts(self) -> Mapping[str, Sequence[int]]: ...
    @property
    def directory(self) -> Path: ...
    @property
    def log(self) -> str:
        """The end of what was written."""

    def tally(self) -> dict[str, float]:
        """Return what the processes themselves have counted since they were started."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class ClusterServer:
    """The processes of a cluster. Ends with the ``with`` block, the last one that was added first.

    Attributes:
        nodes: those that robots connect to.
        counting: returns what the processes have counted.
    """

    def __init__(self, directory: Path) -> None:
        self.directory: Final = directory
        self.nodes: Final[list[Server]] = []
        self.parts: Final[dict[str, list[int]]] = {}
        self.counting: Callable[[], dict[str, float]] = dict
        self._started: Final = ExitStack()

    def add(self, server: Server) -> None:
        """Take a process in, to be ended with the others."""
        self._started.enter_context(server)

    def name(self, part: str, *servers: Server) -> None:
        """Tell what processes are, for the accounting."""
        self.parts.setdefault(part, []).extend(server.pid for server in servers)

    @property
    def port(self) -> int:
        """Where the first node listens."""
        return self.nodes[0].port

    @property
    def ports(self) -> list[int]:
        """Where the nodes listen."""
        return [node.port for node in self.nodes]

    @property
    def pid(self) -> int:
        """The first node's process."""
        return self.nodes[0].pid

    @property
    def log(self) -> str:
        """The end of what the nodes wrote."""
        return "\n".join(node.log for node in self.nodes)

    def tally(self) -> dict[str, float]:
        """Return what the processes have counted."""
        return self.counting()

    def close(self) -> None:
        """End all of them."""
        self._started.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
