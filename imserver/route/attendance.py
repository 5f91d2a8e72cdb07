"""The port that tells which nodes there are, and which robots they hold.

Like everything of the route tier it may be late or missing, and may be thrown away: nothing durable hangs on
it. A node that says nothing for a while counts as gone, though it may live and only be slow.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol

from msgspec import Struct

from imserver.core.clock import Clock
from imserver.protocol.names import RobotName

_NOBODY: Final[frozenset[str]] = frozenset()


class NodeRecord(Struct, frozen=True):
    """A node as others see it.

    Attributes:
        node: its name, new at every start.
        url: where it listens, as it knows itself; clients may have to come another way.
        version: of the program.
        started_ms: when it started, in milliseconds since 1970, by its own clock.
        robots: how many robots are online there.
        connections: how many WebSocket and TCP connections it holds.
        draining: whether it is on its way out, and takes nobody in any more.
        answers: how often the store has answered it when it tried.
    """

    node: str
    url: str = ""
    version: str = ""
    started_ms: int = 0
    robots: int = 0
    connections: int = 0
    draining: bool = False
    answers: int = 0


class Attendance(Protocol):
    """Who is where. Nothing here waits for Redis but the questions, and those not long.

    Attributes:
        here: the robots that are online on this node, as they change; set before anybody comes.
        about: describes this node as it is now; set before anybody comes.
        on_lost: told the robots of a node that is gone, on one of the nodes that are left, at least once;
            returns when others have been told, and whether they could be: if not, it is asked again later.
        on_gone: told that a node is gone, on all that are left: what it had yet to tell was perhaps not told.
    """

    here: Collection[RobotName]
    about: Callable[[], NodeRecord]
    on_lost: Callable[[list[RobotName]], Awaitable[bool]]
    on_gone: Callable[[], None]

    def came(self, robot: RobotName) -> None:
        """Say that a robot is online here."""

    def went(self, robot: RobotName) -> None:
        """Say that a robot is online here no longer."""

    async def settled(self) -> None:
        """Return when others can see this node, and what came and went so far, or Redis does not answer."""

    async def elsewhere(self, robots: Sequence[RobotName]) -> set[RobotName]:
        """Return those that are online on other nodes, as far as is known; none if that cannot be asked."""

    async def holders(self, robot: RobotName) -> list[str]:
        """Return the names of the other nodes that hold a robot, as far as is known; none if that cannot be
        asked."""

    async def nodes(self) -> list[NodeRecord]:
        """Return the nodes that are there, this one among them, by name, as far as is known."""

    async def stamp(self) -> int:
        """Return a number that is greater than those that nodes were given before, as far as can be told;
        roughly milliseconds since 1970."""

    def neighbours(self) -> frozenset[str]:
        """Return the names of the other nodes; the same object as long as they are the same. One that is
        missing for a moment only is still among them."""


class LoneAttendance:
    """The `Attendance` of a node without neighbours."""

    def __init__(self, clock: Clock) -> None:
        self.here: Collection[RobotName] = ()
        self.about: Callable[[], NodeRecord] = unknown_node
        self.on_lost: Callable[[list[RobotName]], Awaitable[bool]] = nobody_tells
        self.on_gone: Callable[[], None] = ignore
        self._clock = clock

    def came(self, robot: RobotName) -> None:
        """Nothing to do: there is nobody to tell."""

    def went(self, robot: RobotName) -> None:
        """Nothing to do: there is nobody to tell."""

    async def settled(self) -> None:
        """Return at once: there is nobody to see it."""

    async def elsewhere(self, robots: Sequence[RobotName]) -> set[RobotName]:
        return set()

    async def holders(self, robot: RobotName) -> list[str]:
        return []

    async def nodes(self) -> list[NodeRecord]:
        return [self.about()]

    def neighbours(self) -> frozenset[str]:
        return _NOBODY

    async def stamp(self) -> int:
        return self._clock.now_ms()


def unknown_node() -> NodeRecord:
    """Stand in for ``about`` until it is set."""
    return NodeRecord("")


async def nobody_tells(_robots: list[RobotName]) -> bool:
    """Stand in for ``on_lost`` until somebody tells: nobody has been told."""
    return False


def ignore() -> None:
    """Stand in for ``on_gone`` until somebody wants to know."""
