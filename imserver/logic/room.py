"""How much one robot may have here: devices online, conversations on a connection, groups of its making.

Who has as many as it may is told so and can make room. Groups count where a robot acts itself, by creating or
joining: what others add it to is theirs to answer for, and must not keep it from its own.
"""

from collections.abc import Container, Sized
from typing import Final, Protocol

from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.data.store import Registry
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import DeviceName, RobotName

ROBOTS_MAX: Final = 4_096
LOOK_EVERY_S: Final = 5.0
_ANY_DEVICE: Final = DeviceName("main")


class Held(Sized, Container[str], Protocol):
    """What a robot has of something, by name."""


def for_device(online: Held, device: str, most: int) -> None:
    """Return if a robot with these devices online may bring one more, or this one again.

    Raises:
        Refusal: ``too_large``.
    """
    if device not in online and len(online) >= most:
        raise _full(f"this robot has {most} devices online, which is the most; close one")


def for_follow(followed: Held, conv: str, most: int) -> None:
    """Return if a connection that receives these conversations may follow one more, or this one again.

    Raises:
        Refusal: ``too_large``.
    """
    if conv not in followed and len(followed) >= most:
        raise _full(
            f"this connection receives {most} conversations, which is the most; `unfollow` some"
        )


class Belonging:
    """How many conversations robots are in that create and join groups: looked up once, then counted."""

    def __init__(self, registry: Registry, clock: Clock, *, most: int) -> None:
        self._registry = registry
        self._clock = clock
        self._most = most
        self._counts: dict[RobotName, int] = {}
        self._looked_s: dict[RobotName, float] = {}

    async def require_room(self, robot: RobotName) -> None:
        """Return if a robot may create or join one more group, and count it.

        Raises:
            Refusal: ``too_large``.
        """
        while (count := self._counts.get(robot)) is None or (
            count >= self._most and self._may_look(robot)
        ):
            looked_s = self._looked_s.get(robot)
            found = len(await self._registry.memberships(robot, _ANY_DEVICE))
            # Else it was found out, and counted on, meanwhile.
            if self._looked_s.get(robot) == looked_s:
                self._remember(robot)
                self._counts[robot] = found
        if count >= self._most:
            raise _full(
                f"{robot} is in {count} conversations, and {self._most} is the most for who creates or "
                "joins another; leave some"
            )
        self._counts[robot] = count + 1

    def _may_look(self, robot: RobotName) -> bool:
        """Tell whether it is time to ask the store again: some may have been left since."""
        return self._clock.monotonic_s() - self._looked_s.get(robot, 0.0) >= LOOK_EVERY_S

    def _remember(self, robot: RobotName) -> None:
        if len(self._counts) >= ROBOTS_MAX:
            self._counts.clear()
            self._looked_s.clear()
        self._looked_s[robot] = self._clock.monotonic_s()


def _full(message: str) -> Refusal:
    return Refusal(ErrorCode.TOO_LARGE, message)
