"""What a node tells of itself to the other nodes and to operators."""

from imserver import __version__
from imserver.access.door import Door
from imserver.logic.session import Sessions
from imserver.route.attendance import NodeRecord


class SelfDescription:
    """Describes a node as it is at the moment.

    Attributes:
        url: where it listens; what is set, until the port is open and it is known.
    """

    def __init__(self, sessions: Sessions, door: Door, *, url: str, started_ms: int) -> None:
        self.url = url
        self._sessions = sessions
        self._door = door
        self._started_ms = started_ms
        self._answers = 0

    def __call__(self) -> NodeRecord:
        """Return the description."""
        return NodeRecord(
            self._sessions.node,
            self.url,
            __version__,
            self._started_ms,
            robots=len(self._sessions.by_robot),
            connections=len(self._door),
            draining=self._door.draining,
            answers=self._answers,
        )

    def count_answer(self) -> None:
        """Count that the store has answered this node."""
        self._answers += 1
