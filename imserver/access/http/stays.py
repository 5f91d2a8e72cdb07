"""Answers that take their time, long polls and streams: so many of a robot, and all ended by a drain."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from imserver.access.http.link import LINK, Stay
from imserver.access.http.metrics import HttpMetrics
from imserver.core.errors import Refusal
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.names import RobotName

_RETRY_AFTER_MS = 1_000
_DRAINING = "this node stops; come back after `retry_after`"


class Staying(Stay, Protocol):
    """An answer that takes its time and can be brought to its end."""

    def end(self, code: int, reason: str, *, retry_after_ms: int | None = None) -> None:
        """Say what is left to say and end, soon and once."""


class Holder(Protocol):
    """The connection on which an answer is given."""

    def attach(self, stay: Stay) -> None:
        """Tell the answer that is being given of time and loss."""

    def detach(self) -> None:
        """Tell nobody any more."""


class Stays:
    """The answers of a node that take their time.

    Attributes:
        metrics: what is counted of them.
    """

    def __init__(self, most: int, metrics: HttpMetrics) -> None:
        self._most = most
        self.metrics = metrics
        self._by_robot: dict[RobotName, dict[Staying, None]] = {}
        self._count = 0
        self._draining = False

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def holding(self, scope: Mapping[str, Any], robot: RobotName, stay: Staying) -> Iterator[None]:
        """Hold an answer to the request of ``scope`` while it is being given.

        Raises:
            Refusal: ``rate_limited``, the robot has as many as it may.
        """
        link: Holder = scope[LINK]
        self.enter(robot, stay)
        link.attach(stay)
        try:
            yield
        finally:
            link.detach()
            self.leave(robot, stay)

    def enter(self, robot: RobotName, stay: Staying) -> None:
        """Take in an answer; of a node that stops, it is ended at once.

        Raises:
            Refusal: ``rate_limited``, the robot has as many as it may.
        """
        stays = self._by_robot.get(robot, {})
        if len(stays) >= self._most:
            self.metrics.stays_refused.inc()
            raise Refusal(
                ErrorCode.RATE_LIMITED,
                f"{robot} has {self._most} long polls and streams here, which is the most; end some",
                retry_after_ms=_RETRY_AFTER_MS,
            )
        self._by_robot.setdefault(robot, {})[stay] = None
        self._note(1)
        if self._draining:
            _end(stay)

    def leave(self, robot: RobotName, stay: Staying) -> None:
        """Let an answer go that has ended."""
        stays = self._by_robot[robot]
        del stays[stay]
        if not stays:
            del self._by_robot[robot]
        self._note(-1)

    def drain(self) -> None:
        """End all answers, those that are still to come too."""
        self._draining = True
        for stays in list(self._by_robot.values()):
            for stay in list(stays):
                _end(stay)

    def _note(self, change: int) -> None:
        self._count += change
        self.metrics.stays.set(self._count)


def _end(stay: Staying) -> None:
    stay.end(CloseCode.DRAINING, _DRAINING, retry_after_ms=_RETRY_AFTER_MS)
