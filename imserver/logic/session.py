"""Sessions: a robot's device that is online through one connection, and what it reads.

A (robot, device) pair has at most one session: a new one replaces the old, which is told not to come back.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.core.ids import Ids
from imserver.core.model import Boot, Membership
from imserver.core.warrant import Warrant
from imserver.data.store import Registry
from imserver.logic import resumption, room
from imserver.logic.committer import Committer
from imserver.logic.conversations import Conversation, Conversations
from imserver.logic.delivery import PAGES_IN_FLIGHT_MAX, Delivery, Reader
from imserver.logic.losses import LossWatch
from imserver.logic.peer import Peer
from imserver.logic.standing import Standing
from imserver.protocol.client_frames import Hello
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.limits import Limits
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from imserver.protocol.server_frames import Welcome

LEFT_MAX: Final = 64
_NONE: Final[frozenset[str]] = frozenset()


class Session:
    """An authenticated connection.

    Attributes:
        warrant: as whom it was opened, and on what ground; ``admin`` and ``scopes`` follow from it.
        window: most events of a conversation in flight beyond its acks.
        auto: it receives every conversation of its robot that it may read, also those to come.
        start: what its robot's program said of its start; 0 and empty if nothing.
        readers: what it receives, by conversation.
        groups: the robot's conversations, kept only if it does not receive them all.
        behind, loads: readers that wait for the connection or a free page read; page reads on their way.
        opened_ms: the stamp under which it was opened; 0 on a node that is alone.
        left: how far conversations were delivered that its robot has left meanwhile, the last few.
        unfollowed: conversations that were delivered to it until it wanted no more of them.
    """

    __slots__ = (
        "admin",
        "auto",
        "behind",
        "device",
        "groups",
        "id",
        "left",
        "loads",
        "opened_ms",
        "peer",
        "readers",
        "robot",
        "scopes",
        "start",
        "unfollowed",
        "warrant",
        "window",
    )

    def __init__(
        self, peer: Peer, warrant: Warrant, device: DeviceName, *, session_id: str
    ) -> None:
        self.id = session_id
        self.start = Boot(0, "")
        self.peer = peer
        self.warrant = warrant
        self.robot = warrant.robot
        self.device = device
        self.admin = warrant.scopes.admin
        self.scopes = warrant.scopes.narrow
        self.window = 1
        self.auto = True
        self.readers: dict[str, Reader] = {}
        self.groups: tuple[ConversationName, ...] = ()
        self.behind: dict[Reader, None] = {}
        self.loads = 0
        self.opened_ms = 0
        self.left: dict[ConversationName, int] | None = None
        self.unfollowed: frozenset[str] = _NONE

    @property
    def asker(self) -> RobotName | None:
        """Who asks, where that makes a difference: an admin may know of every group."""
        return None if self.admin else self.robot

    def leave(self, conv: ConversationName, seq: int) -> None:
        """Receive a conversation no longer; what was delivered of it, up to ``seq``, may still be acked."""
        if self.left is None:
            self.left = {}
        elif len(self.left) == LEFT_MAX:
            del self.left[next(iter(self.left))]
        self.left[conv] = seq

    def feed_waiting(self, feed: Callable[[Reader], None]) -> None:
        """Go on with readers that wait, the longest waiting first, as far as pages and connection allow."""
        for _ in range(len(self.behind)):
            if self.loads >= PAGES_IN_FLIGHT_MAX or self.peer.congested or not self.behind:
                return
            reader = next(iter(self.behind))
            del self.behind[reader]
            feed(reader)

    def stop(self, close: Callable[[Reader], None]) -> None:
        """Have all its readers closed."""
        for reader in self.readers.values():
            close(reader)

    def receives(self, conv: ConversationName) -> bool:
        """Tell whether it is given a conversation that its robot is added to."""
        return self.auto and (self.scopes is None or self.scopes.reads(conv))

    def conversations(self) -> list[ConversationName]:
        """Return the robot's conversations as far as this session knows them."""
        if self.auto and self.scopes is None:
            return [reader.conversation.name for reader in self.readers.values()]
        return list(self.groups)


class PresenceSink(Protocol):
    """Who wants to know when a robot comes and goes."""

    def came(self, session: Session, how: str) -> None:
        """The session is open."""

    def went(self, session: Session, how: str) -> None:
        """The session is closed, and it was the robot's last one."""

    def moved(self, session: Session) -> None:
        """The session's device has a newer one on another node, and it was the robot's last one here."""


class Sessions:
    """All sessions of this node.

    Attributes:
        by_robot: the sessions of each robot that has any here.
        held: the conversations that this node holds, which its sessions read.
        node: name of this server process.
    """

    def __init__(
        self,
        registry: Registry,
        conversations: Conversations,
        delivery: Delivery,
        committer: Committer,
        *,
        losses: LossWatch,
        standing: Standing,
        presence: PresenceSink,
        clock: Clock,
        ids: Ids,
        limits: Limits,
        node: str,
        server: str,
    ) -> None:
        self._registry = registry
        self._losses = losses
        self._standing = standing
        self.held = conversations
        self._delivery = delivery
        self._committer = committer
        self._presence = presence
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self.node = node
        self._server = server
        self.by_robot: dict[RobotName, dict[DeviceName, Session]] = {}
        self._opening: Counter[RobotName] = Counter()
        self._joins_while_opening = 0
        self.on_opened: Callable[[Session], None] = _ignore
        self.stamp: Callable[[], Awaitable[int]] | None = None
        delivery.on_joined = self._on_joined
        delivery.on_found = self.receive

    def __len__(self) -> int:
        return sum(len(devices) for devices in self.by_robot.values())

    def expects(self, robot: RobotName) -> bool:
        """Tell whether ``robot`` has a session here, or one is being opened."""
        return robot in self.by_robot or robot in self._opening

    def all(self) -> list[Session]:
        """Return every open session."""
        return [session for devices in self.by_robot.values() for session in devices.values()]

    async def open(
        self, peer: Peer, warrant: Warrant, device: DeviceName, *, hello: Hello, how: str = "clean"
    ) -> Session | None:
        """Open a session, send its ``welcome`` and begin to deliver; None if the client is gone meanwhile,
        whose place nobody else has to leave then. ``how`` it comes is told, if it replaces none here.

        Everything after the store was read happens in one step, so that no commit falls between what
        ``welcome`` says and what is delivered.

        Raises:
            Refusal: ``unauthenticated``, the warrant was revoked meanwhile; ``too_large``, too many devices.
        """
        robot, stamp = warrant.robot, 0 if self.stamp is None else await self.stamp()
        await self._committer.settle_cursors(robot)
        adopted = await self._adopt(robot, device)
        seen = [membership for membership, _ in resumption.visible(adopted, warrant)]
        if await self._losses.note(hello, seen):
            adopted = await self._adopt(robot, device)
        if peer.is_closed:
            return None
        self._standing.check(warrant)
        room.for_device(self.by_robot.get(robot, {}), device, self._limits.devices_max)
        session = Session(peer, warrant, device, session_id=self._ids.token())
        session.auto, session.start = hello.auto, Boot(hello.boot or 0, hello.instance or "")
        session.opened_ms = stamp
        session.window = min(hello.window, self._limits.window_max)
        how = self._take_place(session, how)
        visible = resumption.visible(adopted, warrant)
        peer.send(self._welcome(session, visible))
        if hello.auto:
            for membership, conversation in visible:
                position = hello.resume.get(conversation.name)
                start, gap = resumption.beginning(membership, conversation, position)
                if gap is not None:
                    peer.send(gap)
                self._follow(session, conversation, start)
        if not hello.auto or session.scopes is not None:
            session.groups = tuple(membership.conv for membership, _ in adopted)
        self._presence.came(session, how)
        self.on_opened(session)
        return session

    async def settle(self, robot: RobotName) -> None:
        """Return when what ``robot`` has acked is stored, or could not be: its next session begins there."""
        await self._committer.settle_cursors(robot)

    def close(self, session: Session, how: str) -> None:
        """End a session: its readers stop, and its robot goes offline if this was its last one."""
        devices = self.by_robot.get(session.robot, {})
        was_current = devices.get(session.device) is session
        session.stop(self._delivery.close)
        if was_current:
            del devices[session.device]
            if not devices:
                del self.by_robot[session.robot]
                self._presence.went(session, how)

    def give_way(self, robot: RobotName, device: DeviceName, *, newer: tuple[int, str]) -> None:
        """End a device's session for a ``newer`` one on another node: when that opened, in ms, and its id."""
        devices = self.by_robot.get(robot, {})
        session = devices.get(device)
        if session is None or (session.opened_ms, session.id) >= newer:
            return
        del devices[device]
        session.stop(self._delivery.close)
        _replace(session)
        if not devices:
            del self.by_robot[robot]
            self._presence.moved(session)

    def receive(self, conversation: Conversation, robots: Iterable[RobotName]) -> None:
        """Deliver a conversation to those of ``robots`` that are its members and do not receive it yet."""
        members = conversation.members
        for robot in members.keys() & robots:
            self._on_joined(conversation, [robot], members[robot].since, only_new=True)

    def follow(self, session: Session, conversation: Conversation, after: int) -> None:
        """Deliver a conversation from after ``after`` on; a reader that is there already moves."""
        self.unfollow(session, conversation.name)
        self._follow(session, conversation, min(after, conversation.head))

    def unfollow(self, session: Session, conv: str) -> None:
        """Deliver a conversation no longer."""
        reader = session.readers.pop(conv, None)
        if reader is not None:
            self._delivery.close(reader)
            session.unfollowed |= {conv}

    def ack(self, session: Session, conv: str, seq: int) -> None:
        """Note that the session's device is done with everything up to ``seq``.

        Raises:
            Refusal: the session does not receive ``conv``, or ``seq`` was not delivered to it yet.
        """
        reader = session.readers.get(conv)
        if reader is None:
            self._ack_what_was_left(session, conv, seq)
            return
        if seq > reader.sent:
            raise Refusal(
                ErrorCode.CONFLICT,
                f"ack {seq} of {conv} is beyond {reader.sent}, the last event delivered here",
            )
        if seq < reader.acked:
            return
        reader.acked = seq
        self._committer.move_cursor(session.robot, session.device, reader.conversation.name, seq)
        if not reader.live:
            self._delivery.feed(reader)

    def _ack_what_was_left(self, session: Session, conv: str, seq: int) -> None:
        left = ConversationName(conv)
        if session.left is None or seq > session.left.get(left, -1):
            raise Refusal(
                ErrorCode.NOT_FOUND,
                f"this session does not receive {conv}; `follow` it before you ack",
            )
        self._committer.move_cursor(session.robot, session.device, left, seq)

    def on_drained(self, session: Session) -> None:
        """Go on with what the session's connection had no room for."""
        session.feed_waiting(self._delivery.feed)

    async def _adopt(
        self, robot: RobotName, device: DeviceName
    ) -> list[tuple[Membership, Conversation]]:
        """Return the robot's conversations, read again if one of them changed meanwhile or was added."""
        self._opening[robot] += 1
        try:
            while True:
                joins = self._joins_while_opening
                memberships = await self._registry.memberships(robot, device)
                adopted = [(m, self.held.adopt(m, robot)) for m in memberships]
                current = [(m, held) for m, held in adopted if held is not None]
                if len(current) == len(adopted) and joins == self._joins_while_opening:
                    return current
        finally:
            self._opening[robot] -= 1
            if not self._opening[robot]:
                del self._opening[robot]

    def _take_place(self, session: Session, how: str) -> str:
        devices = self.by_robot.setdefault(session.robot, {})
        old = devices.get(session.device)
        devices[session.device] = session
        if old is None:
            return how
        old.stop(self._delivery.close)
        _replace(old)
        return "replaced"

    def _welcome(self, session: Session, adopted: list[tuple[Membership, Conversation]]) -> Welcome:
        return Welcome(
            session=session.id,
            robot=session.robot,
            device=session.device,
            now=self._clock.now_ms(),
            node=self.node,
            limits=self._limits,
            conversations=[resumption.state_of(m, held) for m, held in adopted],
            server=self._server,
        )

    def _follow(
        self, session: Session, conversation: Conversation, start: int, *, live: bool = False
    ) -> None:
        reader = Reader(session, conversation, start)
        reader.live = live
        session.readers[conversation.name] = reader
        session.unfollowed -= {conversation.name}
        self._delivery.open(reader)

    def _on_joined(
        self,
        conversation: Conversation,
        robots: list[RobotName],
        seq: int,
        *,
        only_new: bool = False,
    ) -> None:
        for robot in robots:
            if robot in self._opening:
                self._joins_while_opening += 1
            for session in self.by_robot.get(robot, {}).values():
                reader = session.readers.get(conversation.name)
                is_unwanted = only_new and conversation.name in session.unfollowed
                if is_unwanted or not session.receives(conversation.name):
                    continue
                if reader is None:
                    self._follow(session, conversation, seq - 1, live=conversation.head == seq - 1)
                elif reader.until is not None and not only_new:
                    # It has not come to its removal yet: it goes on from where it is, without a hole.
                    reader.until = None
                    self._delivery.feed(reader)


def _replace(session: Session) -> None:
    reason = f"device {session.device} of {session.robot} has a newer session"
    session.peer.close(CloseCode.REPLACED, reason)


def _ignore(_session: Session) -> None:
    """Stand in until somebody wants to know who is here."""
