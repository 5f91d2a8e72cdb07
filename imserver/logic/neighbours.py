"""What a node does because there are others on the same store.

The logs need no agreement: the store gives each event its place, and `Intake` makes whole logs of what is
heard. What is left is told here between nodes, as notices: who joined a conversation that the robot's node
may not hold; and where a device has its session now, so that an older one elsewhere ends. Notices may be lost
with the connection to Redis, be it this node's or another's, and with a node that dies. After any of these
everything is compared with the store, and while nothing is heard, now and then as well.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from imserver.core.errors import StoreCorrupt, StoreFailed, StoreUnavailable
from imserver.core.model import Run
from imserver.core.tasks import TaskScope
from imserver.data.store import Registry
from imserver.logic.conversations import Conversation, Conversations
from imserver.logic.delivery import Spawn
from imserver.logic.head_watch import HeadWatch
from imserver.logic.intake import Intake
from imserver.logic.membership import members_added
from imserver.logic.session import Session, Sessions
from imserver.protocol.names import (
    ConversationName,
    DeviceName,
    RobotName,
    direct_members,
    is_group,
)
from imserver.route.router import Router

_log = logging.getLogger("imserver.neighbours")

RESYNC_EVERY_S: Final = 5.0
ROBOTS_MAX: Final = 500
"""So many robots are named in one notice."""


class Joined(Struct, tag="j", array_like=True, frozen=True):
    """Robots have joined a conversation with its event ``seq``."""

    conv: ConversationName
    seq: int
    robots: list[RobotName]


class Opened(Struct, tag="o", array_like=True, frozen=True):
    """A device has a session on the node that tells this; of two the later counts, or the greater id."""

    robot: RobotName
    device: DeviceName
    opened_ms: int
    session: str


class Missed(Struct, tag="m", array_like=True, frozen=True):
    """Something that the teller of this had to tell may not have arrived."""


Notice: TypeAlias = Joined | Opened | Missed

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Notice).decode
_STORE_TROUBLE = (StoreUnavailable, StoreFailed, StoreCorrupt)


class Neighbours:
    """The `Upkeep` of a node with neighbours, and its ear for their notices.

    Args:
        sees: tells whether hints and notices arrive, as far as is known.
        now_ms: the time by the clock that the nodes have in common; it tells which session is newer.
    """

    def __init__(
        self,
        router: Router,
        intake: Intake,
        watch: HeadWatch,
        conversations: Conversations,
        sessions: Sessions,
        *,
        registry: Registry,
        sees: Callable[[], bool],
        now_ms: Callable[[], int],
        spawn: Spawn,
    ) -> None:
        self._router = router
        self._intake = intake
        self._watch = watch
        self._conversations = conversations
        self._sessions = sessions
        self._registry = registry
        self._sees = sees
        self._now_ms = now_ms
        self._spawn = spawn
        self._is_resyncing = False
        self._is_due = False
        self._has_failed = False

    # Upkeep of what is held here

    def held(self, conv: ConversationName) -> None:
        self._router.follow(conv)

    def dropped(self, conv: ConversationName) -> None:
        self._router.unfollow(conv)

    def ahead(self, conv: ConversationName, head: int) -> None:
        self._intake.on_head(conv, head)

    async def level(self, conversation: Conversation) -> None:
        head = await self._watch.head(conversation.name)
        if head > conversation.head:
            await self._intake.reach(conversation.name, head)

    # What this node tells

    def publish(self, run: Run) -> None:
        """Announce what this node has committed, to every reader and to the nodes of new members."""
        self._router.publish(run)
        first = run.events[0]
        if first.seq == 1 and not is_group(run.conv):
            self._tell_joined(run.conv, 1, list(direct_members(run.conv)))
        for event in run.events:
            robots = members_added(event)
            if robots:
                self._tell_joined(run.conv, event.seq, robots)

    def on_opened(self, session: Session) -> None:
        """Note when a device's session was opened here, and tell of it."""
        session.opened_ms = self._now_ms()
        self.tell_opened(session)

    def tell_opened(self, session: Session) -> None:
        """Tell that a device has its session here now."""
        notice = Opened(session.robot, session.device, session.opened_ms, session.id)
        self._router.tell(_encode(notice))

    def _tell_joined(self, conv: ConversationName, seq: int, robots: list[RobotName]) -> None:
        for start in range(0, len(robots), ROBOTS_MAX):
            self._router.tell(_encode(Joined(conv, seq, robots[start : start + ROBOTS_MAX])))

    # What it is told

    def on_notice(self, notice: bytes) -> None:
        """Take in what another node tells; what cannot be read is passed over."""
        try:
            told = _decode(notice)
        except msgspec.DecodeError:
            return
        match told:
            case Joined(conv=conv, robots=robots):
                here = [robot for robot in robots if self._sessions.expects(robot)]
                if here:
                    self._spawn(self._receive(conv, here), "neighbours.joined")
            case Opened():
                self._sessions.give_way(
                    told.robot, told.device, newer=(told.opened_ms, told.session)
                )
            case Missed():
                self._watch.look_at_all()
                self.resync()

    def on_connected(self) -> None:
        """Look for everything that may have been missed, and tell again what others may have missed."""
        self._watch.look_at_all()
        self._tell_all_opened()
        self.resync()

    def on_unheard(self) -> None:
        """Have others look for what this node could not tell them."""
        self._router.tell(_encode(Missed()))
        self._tell_all_opened()

    def _tell_all_opened(self) -> None:
        for session in self._sessions.all():
            self.tell_opened(session)

    async def run(self) -> None:
        """Look at everything now and then, as often as is needed, until cancelled."""
        async with TaskScope() as scope:
            scope.spawn(self._watch.run(), name="neighbours.heads")
            while True:
                await asyncio.sleep(RESYNC_EVERY_S)
                if self._has_failed or not self._sees():
                    self._has_failed = False
                    self.resync()

    def resync(self) -> None:
        """Compare what the robots here receive with what they are members of."""
        self._is_due = True
        if not self._is_resyncing:
            self._is_resyncing = True
            self._spawn(self._receive_all_missing(), "neighbours.resync")

    async def _receive_all_missing(self) -> None:
        """Begin to deliver whatever the robots here have been added to unheard."""
        try:
            while self._is_due:  # also when it was asked for anew, about what was looked at already
                self._is_due = False
                for session in self._sessions.all():
                    await self._receive_missing(session)
        except _STORE_TROUBLE as exc:
            self._has_failed = True
            _log.warning("neighbours.cannot_resync", extra={"reason": str(exc)})
        finally:
            self._is_resyncing = False

    async def _receive_missing(self, session: Session) -> None:
        for conv in await self._missing(session):
            await self._receive(conv, [session.robot])

    async def _missing(self, session: Session) -> list[ConversationName]:
        """Return the conversations that a session should receive, and does not."""
        if not session.auto:
            return []
        memberships = await self._registry.memberships(session.robot, session.device)
        known = session.readers.keys() | session.unfollowed
        return [membership.conv for membership in memberships if membership.conv not in known]

    async def _receive(self, conv: ConversationName, robots: list[RobotName]) -> None:
        try:
            conversation = await self._conversations.load(conv)
        except _STORE_TROUBLE as exc:
            self._has_failed = True
            _log.warning("neighbours.cannot_load", extra={"conv": conv, "reason": str(exc)})
            return
        if conversation is not None:
            self._sessions.receive(conversation, robots)
