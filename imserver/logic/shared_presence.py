"""Presence where robots may be on any node: one is offline when no node holds it any more.

A node that dies cannot say goodbye for its robots; one of the others does, when it is missed. What one node
says may be overtaken by what is so on another: the robot has come there just now, or never left a node that
was only slow. So a node that hears of a robot as offline, and holds it, contradicts.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec

from imserver.core.errors import STORE_TROUBLE
from imserver.data.store import Registry
from imserver.logic.delivery import Spawn
from imserver.logic.presence import PresenceTeller
from imserver.logic.session import Session
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from imserver.protocol.server_frames import PRESENCE_KEY, Presence, SignalValue
from imserver.route.attendance import Attendance

_log = logging.getLogger("imserver.presence")

SETTLE_S: Final = 1.0
"""So long it is waited for what those who leave have acked."""

_ANY_DEVICE: Final = DeviceName("main")
_decode: Final = msgspec.msgpack.Decoder(Presence).decode


class SharedPresence:
    """A `PresenceSink` that knows of other nodes.

    Args:
        settle: returns when what a robot has acked here is stored. Until then the robot counts as held here,
            so that a node to which it comes asks (`enquiries`).
    """

    def __init__(
        self,
        teller: PresenceTeller,
        attendance: Attendance,
        registry: Registry,
        *,
        settle: Callable[[RobotName], Awaitable[None]],
        spawn: Spawn,
    ) -> None:
        self._teller = teller
        self._attendance = attendance
        self._registry = registry
        self._settle = settle
        self._spawn = spawn
        self._left: dict[RobotName, tuple[Session, str]] = {}
        self._is_asking = False
        self._nobody_left = asyncio.Event()
        self._nobody_left.set()
        attendance.on_lost = self._tell_lost

    async def wait_told(self) -> None:
        """Return when others have been told of all who came and went, as far as they can be."""
        await self._nobody_left.wait()
        await self._teller.wait_told()

    def came(self, session: Session, how: str) -> None:
        self._attendance.came(session.robot)
        self._teller.came(session, how)

    def went(self, session: Session, how: str) -> None:
        self._left[session.robot] = (session, how)
        self._nobody_left.clear()
        if not self._is_asking:
            self._is_asking = True
            self._spawn(self._tell_those_gone(), "presence.went")

    def moved(self, session: Session) -> None:
        self._attendance.went(session.robot)

    def on_signal(self, signal: SignalValue) -> None:
        """Take in what any node tells of a robot."""
        robot = RobotName(signal.sender)
        if signal.key != PRESENCE_KEY or robot not in self._attendance.here:
            return
        try:
            told = _decode(signal.body)
        except msgspec.DecodeError:
            return  # of another version, perhaps: a node must not die of what Redis brings
        if not told.online:
            self._teller.is_here(robot, ConversationName(signal.conv))

    async def _tell_those_gone(self) -> None:
        """Tell who is nowhere else. All are asked about together: when thousands leave at one moment, as from
        a node that drains, a question for each would be more than there are connections for.

        They are asked for once others can see that the robots are not here any more. So if a robot leaves two
        nodes at one moment, at least one of them finds it nowhere.
        """
        try:
            while self._left:
                left, self._left = self._left, {}
                await self._settle_in_time(left)
                for robot in left:
                    self._attendance.went(robot)
                await self._attendance.settled()
                online = await self._online(list(left))
                for robot in left.keys() - online:
                    self._teller.went(*left[robot])
        finally:
            self._is_asking = False
            self._nobody_left.set()

    async def _settle_in_time(self, robots: Iterable[RobotName]) -> None:
        with contextlib.suppress(TimeoutError):  # without a store nobody would be told for long
            async with asyncio.timeout(SETTLE_S):
                for robot in robots:
                    await self._settle(robot)

    async def _tell_lost(self, robots: list[RobotName]) -> bool:
        """Tell of the robots of a node that is gone; return whether it could be done."""
        online = await self._online(robots)
        try:
            for robot in robots:
                if robot not in online:
                    memberships = await self._registry.memberships(robot, _ANY_DEVICE)
                    self._teller.lost(robot, [membership.conv for membership in memberships])
        except STORE_TROUBLE as exc:
            _log.warning("presence.cannot_tell", extra={"reason": str(exc)})
            return False
        await self._teller.wait_told()
        return True

    async def _online(self, robots: list[RobotName]) -> set[RobotName]:
        """Return those that have a session by now, here or on another node."""
        elsewhere = await self._attendance.elsewhere(robots)
        return elsewhere | {robot for robot in robots if robot in self._attendance.here}
