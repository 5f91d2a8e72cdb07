"""Two logic tiers on one store, and between them a route that loses what the test says."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from imserver import cluster
from imserver.core.errors import StoreUnavailable
from imserver.core.model import (
    Append,
    ConversationRecord,
    MembershipChange,
    Outcome,
    Outdated,
    Run,
    Stored,
    Unresolved,
)
from imserver.core.route_settings import Forward
from imserver.logic.clones import CloneGuard
from imserver.logic.enquiries import Enquiries
from imserver.logic.neighbours import Neighbours
from imserver.logic.shared_presence import SharedPresence
from imserver.protocol.names import ConversationName, RobotName
from imserver.protocol.server_frames import SignalValue
from imserver.route.attendance import LoneAttendance
from imserver.route.one_time import LocalOneTime
from imserver.route.requests import Unanswered
from imserver.route.router import RouteListener
from tests.unit.logic.gated_store import GatedStore
from tests.unit.logic.hand_clock import HandClock
from tests.unit.logic.logic_tier import LogicTier


class SharedStore(GatedStore):
    """A store that several nodes share.

    Attributes:
        heads_asked: how often heads were asked for.
        heads_fail: what the next questions for heads raise.
        unanswered: so many of the next appends are done, and end without an answer.
        shown: what reads of this record, and of its head, find instead of what is there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heads_asked = 0
        self.heads_fail: list[StoreUnavailable] = []
        self.unanswered = 0
        self.shown: ConversationRecord | None = None
        self.on_overtaken: Callable[[ConversationName], None] = lambda _conv: None
        self._changed: dict[ConversationName, int] = {}

    def note_head(self, conv: ConversationName, seq: int) -> None:
        """Nothing to do: it plans no places."""

    async def heads(self, convs: Sequence[ConversationName]) -> dict[ConversationName, int]:
        self.heads_asked += 1
        if self.heads_fail:
            raise self.heads_fail.pop(0)
        heads = {conv: self._logs[conv].head for conv in convs if conv in self._logs}
        return heads if self.shown is None else heads | {self.shown.conv: self.shown.head}

    async def append(self, events: Sequence[Append]) -> list[Outcome]:
        outcomes = await super().append(events)
        if not self.unanswered:
            return outcomes
        self.unanswered -= 1
        return [Unresolved()] * len(events)

    async def conversation(self, conv: ConversationName) -> ConversationRecord | None:
        found = await super().conversation(conv)
        return self.shown if self.shown is not None and self.shown.conv == conv else found

    def _append(self, asked: Append) -> Outcome:
        log, changed = self._logs.get(asked.conv), self._changed.get(asked.conv, 0)
        is_new = log is not None and (asked.sender, asked.cid) not in log.by_cid
        if is_new and asked.known is not None and asked.known < changed:
            return Outdated(changed)
        outcome = super()._append(asked)
        if isinstance(asked.change, MembershipChange) and isinstance(outcome, Stored):
            self._changed[asked.conv] = outcome.event.seq
        return outcome


class Bus:
    """What connects the routers of nodes in one process.

    Attributes:
        is_cut: nothing gets from one node to another.
        mute: nodes of which nothing gets to another, while they hear all others.
        lost: how many hints and notices were not carried.
    """

    def __init__(self) -> None:
        self.routers: list[BusRouter] = []
        self.is_cut = False
        self.mute: set[BusRouter] = set()
        self.lost = 0

    def heal(self) -> None:
        """Carry again what comes, as after a reconnect."""
        self.is_cut = False
        for router in self.routers:
            router.listener.on_connected()


class BusRouter:
    """A `Router` of one node on a bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.listener: RouteListener
        self.followed: set[ConversationName] = set()
        bus.routers.append(self)

    def attach(self, listener: RouteListener) -> None:
        self.listener = listener

    def publish(self, run: Run) -> None:
        self.listener.on_committed(run)
        for other in self._others(run.conv):
            other.listener.on_committed(run)

    def publish_signal(self, signal: SignalValue) -> None:
        self.listener.on_signal(signal)
        for other in self._others(ConversationName(signal.conv)):
            other.listener.on_signal(signal)

    def tell(self, notice: bytes) -> None:
        for other in self._others(None):
            other.listener.on_notice(notice)

    async def handed_on(self) -> None:
        """Return at once: it has arrived."""

    def follow(self, conv: ConversationName) -> None:
        self.followed.add(conv)
        self.listener.on_followed(conv)

    def unfollow(self, conv: ConversationName) -> None:
        self.followed.discard(conv)

    def _others(self, conv: ConversationName | None) -> "list[BusRouter]":
        others = [each for each in self._bus.routers if each is not self]
        if self._bus.is_cut or self in self._bus.mute:
            self._bus.lost += 1
            return []
        return [each for each in others if conv is None or conv in each.followed]


class Mail:
    """What carries questions and answers between nodes in one process.

    Attributes:
        boxes: the nodes' `MailBox`es, by name.
        held: questions that were not delivered yet, while ``holds``: as with a node that stands still.
        loses_questions, loses_answers: they do not arrive.
        asked: how many questions there were.
    """

    def __init__(self) -> None:
        self.boxes: dict[str, MailBox] = {}
        self.holds = False
        self.held: list[Callable[[], None]] = []
        self.loses_questions = False
        self.loses_answers = False
        self.asked = 0

    def deliver_held(self) -> None:
        """Deliver what was held, late, to those who do not wait any more."""
        held, self.held = self.held, []
        for deliver in held:
            deliver()


class MailBox:
    """A `Requests` of one node. Who is not answered learns that at once."""

    def __init__(self, mail: Mail, node: str) -> None:
        self._mail = mail
        self.on_asked: Callable[[bytes, Callable[[bytes], None]], None]
        mail.boxes[node] = self

    async def ask(self, node: str, question: bytes, *, timeout_s: float) -> bytes:
        mail = self._mail
        mail.asked += 1
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def answer(body: bytes) -> None:
            if not answered.done() and not mail.loses_answers:
                answered.set_result(body)
            elif not answered.done():
                answered.set_exception(Unanswered("the answer was lost"))

        def deliver() -> None:
            mail.boxes[node].on_asked(question, answer)

        await asyncio.sleep(0)
        if mail.loses_questions:
            raise Unanswered("the question was lost")
        if mail.holds:
            mail.held.append(deliver)
            answered.cancel()
            raise Unanswered("that took too long")
        deliver()
        return await answered


class Desk(LoneAttendance):
    """A node's attendance that sees the others'."""

    def __init__(self, desks: "list[Desk]", clock: HandClock, name: str) -> None:
        super().__init__(clock)
        self._desks = desks
        self.name = name
        self._others = frozenset({"one", "two"} - {name})
        desks.append(self)

    def neighbours(self) -> frozenset[str]:
        return self._others

    async def elsewhere(self, robots: Sequence[RobotName]) -> set[RobotName]:
        others = [desk for desk in self._desks if desk is not self]
        return {robot for robot in robots if any(robot in desk.here for desk in others)}

    async def holders(self, robot: RobotName) -> list[str]:
        return [desk.name for desk in self._desks if desk is not self and robot in desk.here]


class TwoNodes:
    """Nodes ``one`` and ``two``, of one deployment.

    Attributes:
        clock: the one that they have in common, beside their own.
        appending: how their sends get into the log; with ``forward`` others are asked to append.
    """

    def __init__(self, *, forward: Forward = "never") -> None:
        self.store = SharedStore()
        self.bus = Bus()
        self.clock = HandClock()
        self.mail = Mail()
        self.desks: list[Desk] = []
        self.one, self.two = self._node("one"), self._node("two")
        self.two.ids.count = 1_000_000  # ids are unique among nodes
        self.left = LocalOneTime(self.one.clock)
        self.enquiries: list[Enquiries] = []
        self.clones: list[CloneGuard] = []
        self.appending: list[cluster.Appending] = []
        self.neighbours = [self._join(node, forward) for node in (self.one, self.two)]

    def _node(self, name: str) -> LogicTier:
        return LogicTier(
            store=self.store,
            router=BusRouter(self.bus),
            attendance=Desk(self.desks, self.clock, name),
            presence_flush_s=0.001,
        )

    def _join(self, node: LogicTier, forward: Forward) -> Neighbours:
        desk = self.desks[0 if node is self.one else 1]
        presence = SharedPresence(
            node.presence,
            desk,
            self.store,
            settle=node.committer.settle_cursors,
            spawn=node._spawn_page,
        )
        node.sessions._presence = presence
        node.signals.on_servers_own = presence.on_signal
        clones = CloneGuard(self.store.boots, node.ledger, policy="keep", clock=node.clock)
        enquiries = Enquiries(
            desk,
            node.router,
            node.sessions,
            node=desk.name,
            clock=node.clock,
            spawn=node._spawn_page,
        )
        self.clones.append(clones)
        self.enquiries.append(enquiries)
        parts = cluster.Parts(
            node.router,
            self.store,
            node.conversations,
            node.intake,
            node.sessions,
            node.committer,
            node.ledger,
            clones,
            enquiries,
            node._spawn_page,
        )
        given = cluster.Cluster(
            desk.name,
            self.store,
            desk,
            self.left,
            sees=lambda: not self.bus.is_cut,
            requests=MailBox(self.mail, desk.name),
            forward=forward,
        )
        appending = cluster.appending(
            given,
            node.committer,
            self.store,
            clock=node.clock,
            registry=node.registry,
            spawn=node._spawn_page,
        )
        self.appending.append(appending)
        node.sending._way_in = node.groups._way_in = appending.forwarding
        return cluster.join(given, parts)

    async def __aenter__(self) -> "TwoNodes":
        self.one.start()
        self.two.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.one.aclose()
        await self.two.aclose()

    async def settle(self) -> None:
        """Let everything happen on both nodes that waits for nothing but its turn."""
        for _ in range(3):
            await self.one.settle()
            await self.two.settle()
