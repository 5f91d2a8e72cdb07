"""Two machines with one identity: noticed, settled by a stated policy, and reported.

Each start of a robot's program counts itself, beside its key or in its memory, and tells the count (`boot`)
and random text of its own (`instance`) in `hello`. Of two starts the later one has the higher count. So a
start that shows a count which was reached before, by another instance, is a second program that began from a
copy; and so is an instance that comes back after a later one took its place.

Who is there keeps the place by default, if it answers: a session whose machine died may look open for a
while, and must not keep out a robot that lost its count. That ends the fight, and it does not begin again
when the one that was refused is started anew and counts on: while a device is contested, nobody takes it
from a session that is open.
"""

import enum
import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from imserver.core.acts import ActKind, Fact, RobotEnded
from imserver.core.clock import Clock
from imserver.core.errors import StoreUnavailable
from imserver.core.model import Boot
from imserver.data.store import Boots
from imserver.logic.ledger import SERVER, Ledger
from imserver.protocol.client_frames import Hello
from imserver.protocol.errors import CloseCode
from imserver.protocol.names import DeviceName, RobotName

_log = logging.getLogger("imserver.clones")

CONTESTED_S: Final = 3_600.0
"""How long a device stays contested after the last sign of a second machine."""

REPORT_EVERY_S: Final = 60.0
RETRY_MS: Final = 30_000
ASKED_RETRY_MS: Final = 4_000
"""When a newcomer is to ask again, while it is found out whether who has the place is still there."""

PLACES_MAX: Final = 100_000
SUPERSEDED_MAX: Final = 8


class ClonePolicy(enum.StrEnum):
    """What becomes of a device that two machines claim."""

    KEEP = "keep"
    REPLACE = "replace"
    REVOKE = "revoke"


class Refused(NamedTuple):
    """What a newcomer is told that does not get the place."""

    code: CloseCode
    reason: str
    retry_after_ms: int | None = None


class Holder(NamedTuple):
    """Who has a place: the instance of its session, empty if it did not say, and whether it is still there,
    None while that is found out."""

    instance: str
    sign_of_life: Callable[[], bool | None]


class _Place:
    """What is known of one device's starts, the last one of which is in the store or not yet (``stored``)."""

    __slots__ = ("contested_until_s", "is_read", "last", "reported_s", "stored", "superseded")

    def __init__(self) -> None:
        self.last: Boot | None = None
        self.stored: Boot | None = None
        self.is_read = False
        self.superseded: list[str] = []
        self.contested_until_s = 0.0
        self.reported_s = -REPORT_EVERY_S

    def is_clone(self, boot: Boot | None, instance: str) -> bool:
        """Tell whether a start shows that there are two machines."""
        if instance in self.superseded:
            return True
        last = self.last
        if boot is None or last is None or last.instance == instance:
            return False
        return boot.number <= last.number

    def keeps(self, policy: ClonePolicy, now_s: float) -> bool:
        """Tell whether nobody may take it from who has it."""
        return policy is ClonePolicy.KEEP and now_s < self.contested_until_s

    def take(self, boot: Boot) -> None:
        """Note who has the place."""
        if self.last is not None and self.last.instance != boot.instance:
            self.superseded = [*self.superseded, self.last.instance][-SUPERSEDED_MAX:]
        if boot.instance in self.superseded:
            self.superseded.remove(boot.instance)
        self.last = boot

    def learn(self, boot: Boot) -> None:
        """Note who has the place, as it is stored."""
        self.take(boot)
        self.stored = boot


class CloneGuard:
    """Judges who may take the place of a device.

    Attributes:
        on_contested: told a device that two machines want, when that was reported.
    """

    def __init__(
        self,
        boots: Boots,
        ledger: Ledger,
        *,
        policy: str,
        clock: Clock,
    ) -> None:
        self._boots = boots
        self._ledger = ledger
        self._policy = ClonePolicy(policy)
        self._clock = clock
        self._places: dict[tuple[RobotName, DeviceName], _Place] = {}
        self.on_contested: Callable[[RobotName, DeviceName], None] = _ignore

    # What other nodes tell

    def on_started_elsewhere(self, robot: RobotName, device: DeviceName, start: Boot) -> None:
        """Take in that a start has its session on another node now. One that counts is in the store too."""
        place = self._places.get((robot, device))
        if place is None and not start.number:
            place = self._cached(robot, device)
        if place is not None:
            place.learn(start)

    def on_contested_elsewhere(self, robot: RobotName, device: DeviceName) -> None:
        """Take in that two machines want a device, as another node has seen and reported."""
        now_s = self._clock.monotonic_s()
        place = self._cached(robot, device)
        place.contested_until_s, place.reported_s = now_s + CONTESTED_S, now_s

    def forget_starts(self) -> None:
        """Have the store read again: what another node told may have been missed."""
        for place in self._places.values():
            place.is_read = False

    async def judge(
        self, robot: RobotName, device: DeviceName, hello: Hello, holder: Holder | None
    ) -> Refused | None:
        """Return why a newcomer does not get the place, or None: it does.

        Raises:
            StoreUnavailable, StoreFailed: as for `Boots.note_boot`.
        """
        instance = hello.instance
        if not instance or (holder is not None and instance == holder.instance):
            return None  # who says nothing of its starts is not told apart from a restart
        boot = None if hello.boot is None else Boot(hello.boot, instance)
        place = await self._place(robot, device, known=boot is not None)
        now_s = self._clock.monotonic_s()
        if place.is_clone(boot, instance):
            place.contested_until_s = now_s + CONTESTED_S
            settled = await self._settle(robot, device, boot, place, holder)
            if settled is not None:
                return settled
        elif holder is not None and place.keeps(self._policy, now_s):
            alive = holder.sign_of_life()
            if alive is not False:
                text = f"{robot} is used on two machines, and the other one has device {device}"
                return Refused(CloseCode.CONTESTED, text, RETRY_MS if alive else ASKED_RETRY_MS)
        place.take(boot or Boot(0, instance))
        if boot is not None and place.stored != boot:
            await self._boots.note_boot(robot, device, boot)
            place.stored = boot
        return None

    async def _settle(
        self,
        robot: RobotName,
        device: DeviceName,
        boot: Boot | None,
        place: _Place,
        holder: Holder | None,
    ) -> Refused | None:
        """Settle a fight, and report it."""
        refused, how = None, "let in: nobody has the place"
        if holder is not None:
            how = self._policy.value
            if self._policy is ClonePolicy.KEEP:
                refused = _kept(robot, device, holder.sign_of_life())
                how = "let in: who had the place answers no more" if refused is None else how
            elif self._policy is ClonePolicy.REVOKE:
                refused = Refused(
                    CloseCode.REVOKED, f"{robot} is used on two machines; enrol it anew"
                )
        revokes = refused is not None and self._policy is ClonePolicy.REVOKE
        now_s = self._clock.monotonic_s()
        if not revokes and now_s < place.reported_s + REPORT_EVERY_S:
            return refused
        reported_s, place.reported_s = place.reported_s, now_s
        facts: dict[str, Fact] = {
            "device": device,
            "settled": how,
            "boot": boot.number if boot is not None else -1,
            "last_boot": place.last.number if place.last is not None else -1,
        }
        _log.warning("clone.seen", extra={**facts, "robot": robot})
        acts = [self._ledger.act(ActKind.CLONE_SEEN, SERVER, robot=robot, facts=facts)]
        if revokes:
            acts.append(
                self._ledger.act(
                    ActKind.ROBOT_REVOKED, SERVER, robot=robot, facts=facts, change=RobotEnded()
                )
            )
        try:
            await self._ledger.perform(acts)
        except StoreUnavailable:
            place.reported_s = reported_s
            raise
        self.on_contested(robot, device)
        return refused

    async def _place(self, robot: RobotName, device: DeviceName, *, known: bool) -> _Place:
        place = self._places.get((robot, device))
        if known and (place is None or not place.is_read):
            last = await self._boots.last_boot(robot, device)
            place = self._cached(robot, device)
            place.is_read = True
            if last is not None and (place.last is None or last.number > place.last.number):
                place.learn(last)
        return place if place is not None else self._cached(robot, device)

    def _cached(self, robot: RobotName, device: DeviceName) -> _Place:
        place = self._places.setdefault((robot, device), _Place())
        if len(self._places) > PLACES_MAX:
            del self._places[next(iter(self._places))]
        return place


def _kept(robot: RobotName, device: DeviceName, alive: bool | None) -> Refused | None:
    """Return what a clone is told whose place somebody has; None if that one is not there any more."""
    if alive is False:
        return None
    if alive is None:
        text = f"device {device} of {robot} is held by another machine; ask again whether that is still there"
        return Refused(CloseCode.CONTESTED, text, ASKED_RETRY_MS)
    text = f"{robot} is used on two machines, and the other one keeps device {device}"
    return Refused(CloseCode.CLONED, text)


def _ignore(_robot: RobotName, _device: DeviceName) -> None:
    """Stand in until somebody wants to know."""
