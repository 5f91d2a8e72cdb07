"""The whole logic tier, built as the node builds it, around a gated store in memory."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from imserver.core.file_settings import FileSettings
from imserver.core.model import Append
from imserver.core.rate_settings import RateSettings
from imserver.core.scopes import ADMIN, WHOLE, Scopes
from imserver.core.tokens import TokenAuthority
from imserver.core.warrant import Warrant
from imserver.data.memory.files import in_memory
from imserver.logic.committer import Committer
from imserver.logic.conversations import Conversations
from imserver.logic.crowding import Crowding
from imserver.logic.delivery import Delivery
from imserver.logic.files import Files
from imserver.logic.groups import Groups
from imserver.logic.history import HistoryReader
from imserver.logic.identity import Identity
from imserver.logic.intake import Intake
from imserver.logic.ledger import Ledger
from imserver.logic.listings import Listings
from imserver.logic.losses import LossWatch
from imserver.logic.metrics import AuditMetrics, IntakeMetrics, LogicMetrics
from imserver.logic.presence import PresenceTeller
from imserver.logic.send import Sending
from imserver.logic.session import Session, Sessions
from imserver.logic.signals import Signals
from imserver.logic.standing import Standing
from imserver.protocol.client_frames import Hello, Send
from imserver.protocol.limits import Limits
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from imserver.protocol.server_frames import Error, Sent
from imserver.route.attendance import Attendance, LoneAttendance
from imserver.route.local import LocalRouter
from imserver.route.router import Router
from tests.unit.logic.gated_store import GatedStore
from tests.unit.logic.hand_clock import CountedIds, HandClock
from tests.unit.logic.recording_peer import RecordingPeer

SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


class LogicTier:
    """The parts of the logic tier; `start` and `aclose` (or ``async with``) lead the committer's life."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        rates: RateSettings | None = None,
        tail_bytes_max: int = 1_000_000,
        pages_bytes_max: int = 1_000_000,
        page_bytes_max: int = 192 * 1024,
        pending_bytes_max: int = 1_000_000,
        cursor_flush_s: float = 3_600.0,
        presence_flush_s: float = 3_600.0,
        readers_max: int = 1_000,
        store: GatedStore | None = None,
        router: Router | None = None,
        attendance: Attendance | None = None,
    ) -> None:
        self.limits = limits if limits is not None else Limits()
        self.store = store if store is not None else GatedStore()
        self.clock = HandClock()
        attendance = attendance if attendance is not None else LoneAttendance(self.clock)
        self.ids = CountedIds()
        self.registry = CollectorRegistry()
        self.metrics = LogicMetrics(self.registry)
        self.router = router if router is not None else LocalRouter()
        self.authority = TokenAuthority(SIGNING_KEY)
        crowding = Crowding(rates or RateSettings(), self.clock, self.registry)
        self.conversations = Conversations(self.store, crowding)
        self.committer = Committer(
            self.store,
            cursors=self.store,
            publish=self.router.publish,
            metrics=self.metrics,
            clock=self.clock,
            cursor_flush_s=cursor_flush_s,
            pending_bytes_max=pending_bytes_max,
        )
        self.delivery = Delivery(
            self.store,
            self.conversations,
            spawn=self._spawn_page,
            metrics=self.metrics,
            page_bytes_max=page_bytes_max,
            tail_bytes_max=tail_bytes_max,
            pages_bytes_max=pages_bytes_max,
        )
        self.signals = Signals(self.conversations, self.router, clock=self.clock)
        self.intake = Intake(
            self.store,
            self.conversations,
            self.delivery,
            self.signals,
            self._spawn_page,
            IntakeMetrics(self.registry),
        )
        self.router.attach(self.intake)
        self.presence = PresenceTeller(
            self.signals,
            self.conversations,
            clock=self.clock,
            flush_s=presence_flush_s,
            readers_max=readers_max,
        )
        self.standing = Standing(self.clock)
        self.standing.watch(lambda: self.standing.close_ended(self.sessions.all()))
        self.ledger = Ledger(
            self.store.administration,
            self.standing,
            metrics=AuditMetrics(self.registry),
            clock=self.clock,
            ids=self.ids,
        )
        self.sessions = Sessions(
            self.store,
            self.conversations,
            self.delivery,
            self.committer,
            losses=LossWatch(self.store, self.metrics),
            standing=self.standing,
            presence=self.presence,
            clock=self.clock,
            ids=self.ids,
            limits=self.limits,
            node="node-1",
            server="server-1",
        )
        self.groups = Groups(
            self.conversations,
            self.committer,
            self.store,
            clock=self.clock,
            ids=self.ids,
            limits=self.limits,
        )
        self.files = Files(
            in_memory(self.store.files), settings=FileSettings(), clock=self.clock, ids=self.ids
        )
        self.sending = Sending(
            self.conversations,
            self.committer,
            self.store,
            self.store,
            files=self.files,
            clock=self.clock,
            spawn=self._spawn_page,
        )
        self.history = HistoryReader(
            self.conversations, self.store, limits=self.limits, page_bytes_max=page_bytes_max
        )
        self.listings = Listings(
            self.conversations,
            self.store,
            self.store,
            sessions=self.sessions,
            attendance=attendance,
            limits=self.limits,
        )
        self.identity = Identity(
            self.store,
            self.groups,
            self.authority,
            standing=self.standing,
            ledger=self.ledger,
            clock=self.clock,
            ids=self.ids,
        )
        self.tasks: set[asyncio.Task[Any]] = set()
        self.committing: asyncio.Task[None] | None = None

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task that belongs to this tier."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        return task

    def _spawn_page(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.spawn(work, name)

    async def __aenter__(self) -> "LogicTier":
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def start(self) -> None:
        """Begin to commit."""
        self.committing = asyncio.get_running_loop().create_task(self.committer.run())

    async def aclose(self) -> None:
        """End everything; a task that failed fails the test."""
        for task in self.tasks:
            if not task.done():
                task.cancel()
        results = await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.committing is not None and not self.committing.done():
            self.committing.cancel()
            await asyncio.gather(self.committing, return_exceptions=True)
        for timer in (self.committer._flush_timer, self.presence._timer):
            if timer is not None:
                timer.cancel()
        failed = [r for r in results if isinstance(r, Exception)]
        assert not failed, failed

    async def settle(self) -> None:
        """Let everything happen that waits for nothing but its turn."""
        for _ in range(12):
            await asyncio.sleep(0)

    async def session(
        self,
        robot: str,
        device: str = "main",
        *,
        peer: RecordingPeer | None = None,
        admin: bool = False,
        scopes: Sequence[str] = (),
        **hello: Any,
    ) -> Session:
        """Open a session of a robot, which is registered if need be."""
        await self.store.enlist(robot)
        asked = Hello(robot=robot, device=device, **hello)
        peer = peer if peer is not None else RecordingPeer()
        given = Scopes(scopes or [ADMIN if admin else WHOLE])
        warrant = Warrant(RobotName(robot), self.clock.now_ms(), given)
        session = await self.sessions.open(peer, warrant, DeviceName(device), hello=asked)
        assert session is not None, "its peer is there"
        return session

    async def group(
        self, name: str, owner: str, *members: str, is_open: bool = False, enlist: bool = True
    ) -> str:
        """Create a group and return its conversation; its robots are registered if need be."""
        if enlist:
            await self.store.enlist(owner, *members)
        creator = Session(
            RecordingPeer(), Warrant(RobotName(owner), 0), DeviceName("main"), session_id=""
        )
        changed = await self.groups.create(creator, name, members, is_open=is_open)
        assert changed.conv is not None, "a creation tells the conversation"
        return changed.conv

    async def send(self, session: Session, conv: str, body: Any = "hi", **fields: Any) -> Sent:
        """Send an event and return its `sent`."""
        answer = await self.try_send(session, conv, body, **fields)
        assert isinstance(answer, Sent), answer
        return answer

    async def try_send(
        self, session: Session, conv: str, body: Any = "hi", **fields: Any
    ) -> Sent | Error:
        """Send an event and return its answer; a refusal that is raised goes through."""
        request_id = self.ids.count = self.ids.count + 1
        fields = {"cid": f"cid-{request_id}"} | fields
        raw = msgspec.msgpack.encode(body)
        frame = Send(id=request_id, conv=conv, body=msgspec.Raw(raw), **fields)
        work = self.sending.send(session, frame, raw)
        if work is not None:
            await work
        answer: Sent | Error = await self.answer_of(session, request_id)
        return answer

    async def answer_of(self, session: Session, request_id: int) -> Any:
        """Return the answer to a request, once it is there."""
        peer = peer_of(session)
        while True:
            for frame in peer.frames:
                if getattr(frame, "id", None) == request_id:
                    return frame
            await asyncio.sleep(0)


def peer_of(session: Session) -> RecordingPeer:
    """Return a session's peer, which is a recording one in these tests."""
    assert isinstance(session.peer, RecordingPeer)
    return session.peer


def plain(conv: str, cid: str, body: Any = "hi", *, sender: str = "r1") -> Append:
    """Return an ordinary message that asks to be stored."""
    return Append(
        conv=ConversationName(conv),
        ts=1,
        sender=RobotName(sender),
        cid=cid,
        kind="message",
        body=msgspec.msgpack.encode(body),
    )
