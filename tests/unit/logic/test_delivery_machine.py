"""Readers, commits, acks, congestion, membership and slow stores in every order, against a model."""

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from imserver.core.errors import Refusal
from imserver.core.scopes import ADMIN, WHOLE, Scopes
from imserver.core.warrant import Warrant
from imserver.logic import delivery as delivery_module
from imserver.logic import session as session_module
from imserver.protocol.client_frames import Hello, Position
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from tests.unit.logic.delivery_model import Seat, log_of
from tests.unit.logic.logic_tier import LogicTier
from tests.unit.logic.recording_peer import RecordingPeer

ROBOTS = ("r1", "r2", "r3")
GROUPS = ("g/a", "g/b")
CONVS = (*GROUPS, "d/r1/r2")
EVENTS_MAX = 3

robots = st.sampled_from(ROBOTS)
groups = st.sampled_from(GROUPS)
picks = st.integers(0, 1_000)
gates = st.sampled_from(("commits", "pages", "memberships_read"))


class Deliveries(RuleBasedStateMachine):
    seats = Bundle("seats")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_debug(False)  # which would halve the number of stories told in the time
        self.tier: LogicTier = None  # type: ignore[assignment]
        self.open_seats: list[Seat] = []
        self.devices: dict[tuple[str, str], Seat] = {}

    def do(self, work: Any) -> Any:
        """Run a coroutine, and everything that waits for nothing but its turn."""

        async def whole() -> Any:
            result = await work
            await self.tier.settle()
            return result

        return self.loop.run_until_complete(whole())

    async def _within_loop(self, call: Any, *args: Any) -> None:
        call(*args)

    def in_background(self, *works: Any) -> None:
        """Start requests that may have to wait, in one go."""

        async def start() -> None:
            for work in works:
                self.tier.spawn(_unless_refused(work), "request")

        self.do(start())

    @initialize(
        tail_bytes_max=st.sampled_from((0, 1_500, 1_000_000)),
        page_bytes_max=st.sampled_from((1, 900, 100_000)),
        pages_in_flight=st.integers(1, 3),
        shut=st.sets(gates),
    )
    def build(
        self, tail_bytes_max: int, page_bytes_max: int, pages_in_flight: int, shut: set[str]
    ) -> None:
        for module in (delivery_module, session_module):
            vars(module)["PAGES_IN_FLIGHT_MAX"] = pages_in_flight
        self.tail_bytes_max = tail_bytes_max

        async def build() -> None:
            self.tier = LogicTier(tail_bytes_max=tail_bytes_max, page_bytes_max=page_bytes_max)
            self.tier.start()
            await self.tier.store.enlist(*ROBOTS)
            self.boss = await self.tier.session("boss", admin=True, auto=False)
            for conv in GROUPS:
                await self.tier.group(conv[2:], "boss", "r1", "r2")
            self.friend = await self.tier.session("r1", "sender", auto=False)

        self.loop.run_until_complete(build())
        for gate in shut:
            self.shut(gate=gate)

    @rule(conv=groups, count=st.integers(1, 7), size=st.sampled_from((0, 40, 400)))
    def append(self, conv: str, count: int, size: int) -> None:
        body = "x" * size
        self.in_background(*(self.tier.try_send(self.boss, conv, body) for _ in range(count)))

    @rule()
    def append_direct(self) -> None:
        self.in_background(self.tier.try_send(self.friend, "d/r1/r2"))

    @rule(conv=groups, robot=robots)
    def add_member(self, conv: str, robot: str) -> None:
        self.in_background(self.tier.groups.add(self.boss, conv, [robot], role=Role.MEMBER))

    @rule(conv=groups, robot=robots)
    def remove_member(self, conv: str, robot: str) -> None:
        self.in_background(self.tier.groups.remove(self.boss, conv, [robot]))

    @rule(conv=groups, robot=robots, role=st.sampled_from((Role.MEMBER, Role.OBSERVER)))
    def change_role(self, conv: str, robot: str, role: Role) -> None:
        self.in_background(self.tier.groups.set_role(self.boss, conv, robot, role=role))

    @rule()
    def delete_group(self) -> None:
        self.in_background(self.tier.groups.delete(self.boss, "g/b"))

    @rule(
        target=seats,
        robot=robots,
        device=st.sampled_from(("main", "spare")),
        window=st.sampled_from((1, 2, 5, 1_000)),
        auto=st.sampled_from((True, True, False)),
        admin=st.sampled_from((False, False, False, True)),
        room=st.sampled_from((None, 0, 1, 2)),
        resume=st.none() | st.integers(0, 6),
    )
    def open_session(
        self,
        *,
        robot: str,
        device: str,
        window: int,
        auto: bool,
        admin: bool,
        room: int | None,
        resume: int | None,
    ) -> Seat:
        peer = RecordingPeer(room=room)
        peer.congested = room == 0
        seat = Seat(robot, peer, auto=auto, admin=admin, window=window)
        if resume is not None:
            held = {c: self.tier.conversations.peek(c) for c in CONVS}
            seat.resume = {
                conv: Position("epoch-1", resume)
                for conv, found in held.items()
                if found is not None and found.head >= resume and found.epoch
            }
        hello = Hello(robot, device, resume=seat.resume, window=window, auto=auto)

        async def open_() -> None:
            warrant = Warrant(RobotName(robot), 0, Scopes([ADMIN if admin else WHOLE]))
            seat.session = await self.tier.sessions.open(
                peer, warrant, DeviceName(device), hello=hello
            )
            old = self.devices.get((robot, device))
            if old is not None and old.session is not None and peer.closed is None:
                assert old.peer.closed is not None, "the older session was told to go"
            if peer.closed is None:
                self.devices[robot, device] = seat
                self.open_seats.append(seat)

        self.in_background(open_())
        return seat

    @rule(seat=seats)
    def close_session(self, seat: Seat) -> None:
        if seat in self.open_seats and seat.session is not None:
            seat.peer.close(1000, "gone")
            self.tier.sessions.close(seat.session, "lost")
            self.open_seats.remove(seat)

    @rule(seat=seats)
    def congest(self, seat: Seat) -> None:
        seat.peer.congested = True

    @rule(seat=seats, room=st.sampled_from((None, 1, 2, 5)))
    def drain(self, seat: Seat, room: int | None) -> None:
        if seat.session is not None and seat.peer.closed is None:
            self.do(
                self._within_loop(
                    lambda: seat.peer.drain(self.tier.sessions, seat.session, room=room)
                )
            )

    @rule(seat=seats, conv=st.sampled_from(CONVS), pick=picks)
    def ack(self, seat: Seat, conv: str, pick: int) -> None:
        if self._receives(seat, conv):
            got, acked = seat.got[conv], seat.acked[conv]
            seat.acked[conv] = acked + pick % (got - acked + 1)
            self._ack(seat, conv)

    @rule(seat=seats, conv=st.sampled_from(CONVS), pick=picks)
    def follow(self, seat: Seat, conv: str, pick: int) -> None:
        held = self.tier.conversations.peek(conv)
        if seat.session is None or held is None or seat.peer.closed is not None:
            return
        if seat.admin or seat.robot in held.members:
            after = pick % (held.head + 1)
            seat.place(conv, after)
            seat.left.discard(conv)
            self.do(self._within_loop(self.tier.sessions.follow, seat.session, held, after))

    @rule(seat=seats, conv=st.sampled_from(CONVS))
    def unfollow(self, seat: Seat, conv: str) -> None:
        if seat.session is not None and conv in seat.session.readers:
            self.tier.sessions.unfollow(seat.session, conv)
            seat.left.add(conv)
            seat.got.pop(conv, None)
            seat.acked.pop(conv, None)

    @rule(gate=gates)
    def shut(self, gate: str) -> None:
        getattr(self.tier.store, gate).shut = True

    @rule(conv=st.sampled_from(CONVS), below=st.integers(1, 30), is_told=st.booleans())
    def let_go(self, conv: str, below: int, is_told: bool) -> None:
        async def trim() -> None:
            floor = await self.tier.store.trim(ConversationName(conv), below, limit=10)
            held = self.tier.conversations.peek(conv)
            if held is not None and is_told:  # else another node has done it
                held.floor = max(held.floor, floor)

        self.do(trim())

    @rule(gate=gates)
    def open_gate(self, gate: str) -> None:
        self.do(self._within_loop(getattr(self.tier.store, gate).open))

    @rule(gate=gates, pick=picks)
    def let_one(self, gate: str, pick: int) -> None:
        waiting = getattr(self.tier.store, gate)
        if len(waiting):
            self.do(self._within_loop(waiting.let_one, pick % len(waiting)))

    @rule()
    def everybody_catches_up(self) -> None:
        self.do(self._within_loop(self.tier.store.open_all))
        for _ in range(200):
            if not self._step_of_catching_up():
                break
        self.clients_see_the_log()
        for seat in self.open_seats:
            self._check_level(seat)

    @invariant()
    def clients_see_the_log(self) -> None:
        for seat in self.open_seats:
            seat.check_new(self.tier.store, events_max=EVENTS_MAX)
        self.open_seats = [seat for seat in self.open_seats if seat.peer.closed is None]

    @invariant()
    def tails_are_bounded(self) -> None:
        if self.tier is not None:
            tails = self.tier.delivery._tails
            assert tails._bytes == sum(held for _, held in tails._order) <= self.tail_bytes_max

    def teardown(self) -> None:
        try:
            if self.tier is not None:
                self.everybody_catches_up()
        finally:
            if self.tier is not None:
                self.loop.run_until_complete(self.tier.aclose())
            self.loop.close()

    def _receives(self, seat: Seat, conv: str) -> bool:
        return (
            seat.session is not None
            and seat.peer.closed is None
            and conv in seat.session.readers
            and conv in seat.got
        )

    def _ack(self, seat: Seat, conv: str) -> None:
        self.do(self._within_loop(self.tier.sessions.ack, seat.session, conv, seat.acked[conv]))

    def _step_of_catching_up(self) -> bool:
        moved = False
        for seat in self.open_seats:
            seat.check_new(self.tier.store, events_max=EVENTS_MAX)
            before = len(seat.peer.frames)
            for conv in CONVS:
                if self._receives(seat, conv) and seat.acked[conv] < seat.got[conv]:
                    seat.acked[conv] = seat.got[conv]
                    self._ack(seat, conv)
                    moved = True
            if seat.peer.congested:
                self.do(self._within_loop(seat.peer.drain, self.tier.sessions, seat.session))
                moved = True
            moved = moved or len(seat.peer.frames) > before
        return moved

    def _check_level(self, seat: Seat) -> None:
        session, sessions = seat.session, self.tier.sessions
        assert session is not None and session in sessions.all()
        assert session.loads == 0
        for conv, reader in session.readers.items():
            head = len(log_of(self.tier.store, conv))
            assert reader.sent == reader.conversation.head == head, "nobody is forgotten"
            assert reader.live
            assert reader in reader.conversation.readers
        if seat.auto:
            logs = self.tier.store._logs
            member_of = {c for c in CONVS if c in logs and seat.robot in logs[c].members}
            received = set(session.readers)
            assert member_of - seat.left <= received
            if not seat.admin:
                assert received <= member_of


async def _unless_refused(work: Any) -> None:
    with contextlib.suppress(Refusal):
        await work


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "PAGE_EVENTS_MAX", EVENTS_MAX)
    monkeypatch.setattr(delivery_module, "PAGES_IN_FLIGHT_MAX", 1)
    monkeypatch.setattr(session_module, "PAGES_IN_FLIGHT_MAX", 1)


Deliveries.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, print_blob=True
)


TestDeliveries = Deliveries.TestCase
