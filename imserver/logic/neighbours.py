"""What a node does because there are others on the same store.

The logs need no agreement: the store gives each event its place, and `Intake` makes whole logs of what is
heard. What is left is told here between nodes, as notices: who joined a conversation that the robot's node
may not hold; where a device has its session now, so that an older one elsewhere ends; and whose word counts
no more, so that what it opened elsewhere ends before the next look into the store. Notices may be lost
with the connection to Redis, be it this node's or another's, and with a node that dies. After any of these
everything is compared with the store, and again a while later: a primary that has just been elected may
answer with what was true a moment before. While nothing is heard it is compared now and then as well. Events
of which the store did not say in time whether it had them are looked for, and announced late (`doubts`).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from imserver.core.acts import Act, KeyReplaced, RobotEnded, TokenEnded
from imserver.core.errors import STORE_TROUBLE
from imserver.core.model import Boot, Run
from imserver.core.tasks import TaskScope
from imserver.data.store import Registry
from imserver.logic import notices
from imserver.logic.clones import CloneGuard
from imserver.logic.conversations import Conversations
from imserver.logic.delivery import Spawn
from imserver.logic.doubts import Doubts
from imserver.logic.enquiries import Enquiries
from imserver.logic.followings import Followings
from imserver.logic.head_watch import HeadWatch
from imserver.logic.membership import members_added
from imserver.logic.notices import (
    Answered,
    Asked,
    Contested,
    Joined,
    Missed,
    Notice,
    Opened,
    Performed,
)
from imserver.logic.session import Session, Sessions
from imserver.logic.standing import Standing
from imserver.protocol.names import ConversationName, RobotName, direct_members, is_group
from imserver.route.router import Router

_log = logging.getLogger("imserver.neighbours")

RESYNC_EVERY_S: Final = 5.0
LOAD_AGAIN_AFTER_S: Final = (0.05, 0.2, 0.5, 1.0)
"""The rests before a conversation is read again of which less is seen than was told."""

ROBOTS_MAX: Final = 500
"""So many robots are named in one notice."""


class Neighbours:
    """What a node tells its neighbours, and its ear for their notices.

    Args:
        sees: tells whether hints and notices arrive, as far as is known.
    """

    def __init__(
        self,
        router: Router,
        followings: Followings,
        watch: HeadWatch,
        conversations: Conversations,
        sessions: Sessions,
        *,
        registry: Registry,
        standing: Standing,
        clones: CloneGuard,
        enquiries: Enquiries,
        doubts: Doubts,
        sees: Callable[[], bool],
        spawn: Spawn,
    ) -> None:
        self._router = router
        self._followings = followings
        self._watch = watch
        self._conversations = conversations
        self._sessions = sessions
        self._registry = registry
        self._standing = standing
        self._clones = clones
        self._enquiries = enquiries
        self._doubts = doubts
        self._sees = sees
        self._spawn = spawn
        self._is_resyncing = False
        self._is_due = False
        self._looks_again = False
        self._has_connected = asyncio.Event()

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

    def tell_opened(self, session: Session) -> None:
        """Tell that a device has its session here now."""
        # A token for a part of its robot's rights says nothing of the robot's starts.
        start = session.start if session.scopes is None else Boot(0, "")
        self.tell(
            Opened(
                session.robot,
                session.device,
                session.opened_ms,
                session.id,
                start.instance,
                start.number,
            )
        )

    def tell_act(self, act: Act) -> None:
        """Tell of an act that was performed here, if somebody's word counts no more by it."""
        if isinstance(act.change, TokenEnded | RobotEnded | KeyReplaced):
            self.tell(Performed(act))

    def tell(self, notice: Notice) -> None:
        """Tell every other node something."""
        self._router.tell(notices.encode(notice))

    def _tell_joined(self, conv: ConversationName, seq: int, robots: list[RobotName]) -> None:
        for start in range(0, len(robots), ROBOTS_MAX):
            self.tell(Joined(conv, seq, robots[start : start + ROBOTS_MAX]))

    # What it is told

    def on_notice(self, notice: bytes) -> None:
        """Take in what another node tells; what cannot be read is passed over."""
        match told := notices.decode(notice):
            case Joined(conv=conv, seq=seq, robots=robots):
                here = [robot for robot in robots if self._sessions.expects(robot)]
                if here:
                    self._spawn(self._receive(conv, here, seq=seq), "neighbours.joined")
            case Opened():
                self._give_way(told)
            case Performed(act=act):
                self._standing.note(act)
            case Contested(robot=robot, device=device):
                self._clones.on_contested_elsewhere(robot, device)
            case Asked():
                self._enquiries.on_asked(told)
            case Answered():
                self._enquiries.on_answered(told)
            case Missed():
                self._look_at_everything()

    def _give_way(self, told: Opened) -> None:
        if told.instance:
            start = Boot(told.boot, told.instance)
            self._clones.on_started_elsewhere(told.robot, told.device, start)
        newer = (told.opened_ms, told.session)
        self._sessions.give_way(told.robot, told.device, newer=newer)

    def _look_at_everything(self) -> None:
        self._clones.forget_starts()
        self._watch.look_at_all()
        self.resync()

    def on_connected(self) -> None:
        """Look for everything that may have been missed, and tell again what others may have missed."""
        self._has_connected.set()
        self._tell_all_opened()
        self._look_at_everything()

    async def wait_connected(self) -> None:
        """Return when notices of others have begun to arrive."""
        await self._has_connected.wait()

    def on_unheard(self) -> None:
        """Have others look for what this node could not tell them."""
        self.tell(Missed())
        self._tell_all_opened()

    def _tell_all_opened(self) -> None:
        for session in self._sessions.all():
            self.tell_opened(session)

    async def run(self) -> None:
        """Look at everything now and then, as often as is needed, until cancelled."""
        async with TaskScope() as scope:
            scope.spawn(self._watch.run(), name="neighbours.heads")
            scope.spawn(self._doubts.run(), name="neighbours.doubts")
            while True:
                await asyncio.sleep(RESYNC_EVERY_S)
                if self._looks_again or not self._sees():
                    self._looks_again = False
                    self._compare()

    def resync(self) -> None:
        """Compare what the robots here receive with what they are members of, now and once more later."""
        self._looks_again = True
        self._compare()

    def _compare(self) -> None:
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
        except STORE_TROUBLE as exc:
            self._looks_again = True
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

    async def _receive(
        self, conv: ConversationName, robots: list[RobotName], *, seq: int = 0
    ) -> None:
        """Let robots receive a conversation, as it is behind its event ``seq`` or later."""
        try:
            conversation = await self._conversations.load(conv)
            for rest_s in LOAD_AGAIN_AFTER_S:
                if conversation is not None and conversation.head >= seq:
                    break
                await asyncio.sleep(rest_s)
                conversation = await self._conversations.load(conv)
            await self._followings.wait(conv)
        except STORE_TROUBLE as exc:
            self._looks_again = True
            _log.warning("neighbours.cannot_load", extra={"conv": conv, "reason": str(exc)})
            return
        if conversation is not None:
            self._sessions.receive(conversation, robots)
        if conversation is None or conversation.head < seq:
            self._looks_again = True
