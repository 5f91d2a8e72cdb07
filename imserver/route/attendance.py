"""The port that tells which nodes there are, and which robots they hold.

Like everything of the route tier it may be late or missing, and may be thrown away: nothing durable hangs on
it. A node that says nothing for a while counts as gone, though it may live and only be slow.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from msgspec import Struct

from imserver.protocol.names import RobotName


class NodeRecord(Struct, frozen=True):
    """A node as others see it.

    Attributes:
        node: its name, new at every start.
        url: where it listens, as it knows itself.
        version: of the program.
        started_ms: when it started, by its own clock.
        robots: how many robots are online there.
    """

    node: str
    url: str
    version: str
    started_ms: int
    robots: int = 0


class Attendance(Protocol):
    """Who is where. Nothing here waits for Redis but the questions, and those not long.

    Attributes:
        here: the robots that are online on this node, as they change; set before anybody comes.
        on_lost: told the robots of a node that is gone, on one of the nodes that are left, at least once.
        on_gone: told that a node is gone, on all that are left: what it had yet to tell was perhaps not told.
    """

    here: Collection[RobotName]
    on_lost: Callable[[list[RobotName]], None]
    on_gone: Callable[[], None]

    def came(self, robot: RobotName) -> None:
        """Say that a robot is online here."""

    def went(self, robot: RobotName) -> None:
        """Say that a robot is online here no longer."""

    async def elsewhere(self, robots: Sequence[RobotName]) -> set[RobotName]:
        """Return those that are online on other nodes, as far as is known; none if that cannot be asked."""

    async def nodes(self) -> list[NodeRecord]:
        """Return the nodes that are there, by name, as far as is known; none where there is but one."""


class LoneAttendance:
    """The `Attendance` of a node without neighbours."""

    def __init__(self) -> None:
        self.here: Collection[RobotName] = ()
        self.on_lost: Callable[[list[RobotName]], None] = _ignore
        self.on_gone: Callable[[], None] = _ignore

    def came(self, robot: RobotName) -> None:
        """Nothing to do: there is nobody to tell."""

    def went(self, robot: RobotName) -> None:
        """Nothing to do: there is nobody to tell."""

    async def elsewhere(self, robots: Sequence[RobotName]) -> set[RobotName]:
        return set()

    async def nodes(self) -> list[NodeRecord]:
        return []


def _ignore(*_: object) -> None:
    """Stand in until somebody wants to know."""
