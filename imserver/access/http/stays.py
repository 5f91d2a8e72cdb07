"""Answers that take their time, long polls and streams: so many of a robot, and all ended by a drain."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from imserver.access.http.last_answers import LINK
from imserver.access.http.link import Stay
from imserver.access.http.metrics import HttpMetrics
from imserver.core.errors import Refusal
from imserver.core.warrant import Warrant
from imserver.logic.standing import Standing
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.names import RobotName

_RETRY_AFTER_MS = 1_000
_DRAINING = "this node stops; come back after `retry_after`"


class Staying(Stay, Protocol):
    """An answer that takes its time and can be brought to its end."""

    def end(self, code: int, reason: str, *, retry_after_ms: int | None = None) -> None:
        """Say what is left to say and end, soon and once."""


class Holder(Protocol):
    """The connection on which an answer is given.

    Attributes:
        stay: the answer that is being given, which hears of time and loss.
    """

    stay: Stay | None

    @property
    def is_over(self) -> bool:
        """Whether nothing that is still said reaches the client."""


class Stays:
    """The answers of a node that take their time.

    Attributes:
        metrics: what is counted of them.
    """

    def __init__(self, most: int, metrics: HttpMetrics, standing: Standing) -> None:
        self._most = most
        self._standing = standing
        self.metrics = metrics
        self._by_robot: dict[RobotName, dict[Staying, Warrant]] = {}
        self._count = 0
        self._draining = False

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def holding(self, scope: Mapping[str, Any], warrant: Warrant, stay: Staying) -> Iterator[None]:
        """Hold an answer to the request of ``scope`` while it is being given.

        Raises:
            Refusal: ``rate_limited``, the robot has as many as it may.
        """
        link: Holder = scope[LINK]
        self.enter(warrant, stay)
        link.stay = stay
        if link.is_over:
            stay.on_lost()  # it was lost while there was nobody to tell
        try:
            yield
        finally:
            link.stay = None
            self.leave(warrant, stay)

    def enter(self, warrant: Warrant, stay: Staying) -> None:
        """Take in an answer; of a node that stops, it is ended at once.

        Raises:
            Refusal: ``rate_limited``, the robot has as many as it may.
        """
        robot = warrant.robot
        stays = self._by_robot.get(robot, {})
        if len(stays) >= self._most:
            self.metrics.stays_refused.inc()
            raise Refusal(
                ErrorCode.RATE_LIMITED,
                f"{robot} has {self._most} long polls and streams here, which is the most; end some",
                retry_after_ms=_RETRY_AFTER_MS,
            )
        self._by_robot.setdefault(robot, {})[stay] = warrant
        self._note(1)
        if self._draining:
            _end(stay)
        else:
            self._end_if_over(stay, warrant)

    def leave(self, warrant: Warrant, stay: Staying) -> None:
        """Let an answer go that has ended."""
        stays = self._by_robot[warrant.robot]
        del stays[stay]
        if not stays:
            del self._by_robot[warrant.robot]
        self._note(-1)

    def drain(self) -> None:
        """End all answers, those that are still to come too."""
        self._draining = True
        for stays in list(self._by_robot.values()):
            for stay in list(stays):
                _end(stay)

    def end_ended(self) -> None:
        """End the answers to those whose word counts no more."""
        for stays in list(self._by_robot.values()):
            for stay, warrant in list(stays.items()):
                self._end_if_over(stay, warrant)

    def _end_if_over(self, stay: Staying, warrant: Warrant) -> None:
        ending = self._standing.ending(warrant)
        if ending is not None:
            stay.end(ending.code, ending.reason)

    def _note(self, change: int) -> None:
        self._count += change
        self.metrics.stays.set(self._count)


def _end(stay: Staying) -> None:
    stay.end(CloseCode.DRAINING, _DRAINING, retry_after_ms=_RETRY_AFTER_MS)
