"""Sessions in any order of frames, waits, congestion and losses, against the table of states.

A connection takes its frames in order, however long each waits. So what a client said decides, by the table
alone, where its session ends up and which of its frames are answered; that is what the model knows. It is
compared whenever nothing waits any more.
"""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import msgpack
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from msgspec import structs

from imserver.core.model import RobotRecord
from imserver.protocol import client_frames as frames
from imserver.protocol.codec import JSON, MSGPACK, Codec
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import RobotName
from imserver.protocol.server_frames import Challenge, Error, Welcome
from imserver.protocol.session_states import ALLOWED, IN_SESSION, SessionState
from tests.contract.records import enrolment
from tests.unit.access.node_in_memory import NodeInMemory, running
from tests.unit.access.recording_link import Client
from tests.unit.access.test_connection import KEY
from tests.unit.protocol.frame_strategies import frames as any_of

FRESH, CHALLENGED, OPEN, CLOSED = SessionState
OFFENCES_MAX = 3
CONVS = ("g/a", "g/b", "d/r0/r1")
GATES = ("commits", "pages", "memberships_read", "conversations_read", "names_read")
KINDS = sorted(IN_SESSION, key=lambda kind: kind.__name__)
TURNS_MAX = 200

requests = st.tuples(
    st.sampled_from(KINDS).flatmap(any_of), st.none() | st.sampled_from(CONVS)
).map(lambda pair: _to(*pair))
requests_in_json = st.tuples(
    st.sampled_from(KINDS).flatmap(lambda kind: any_of(kind, json_bodies=True)),
    st.none() | st.sampled_from(CONVS),
).map(lambda pair: _to(*pair))


def _to(frame: Any, conv: str | None) -> Any:
    """Return a frame about a conversation that there may be."""
    return (
        frame if conv is None or not hasattr(frame, "conv") else structs.replace(frame, conv=conv)
    )


class Seat:
    """A client, and what the table says of it.

    Attributes:
        state: where its session ends up by what was said so far.
        asked: ids of its frames that are due an answer.
    """

    def __init__(self, node: NodeInMemory, codec: Codec, robot: str) -> None:
        self.client = Client(node.context, codec)
        self.codec = codec
        self.robot = robot
        self.state = FRESH
        self.offences = 0
        self.asked: Counter[int] = Counter()
        self.is_lost = False

    def say(self, frame: Any, *, leads_to: SessionState | None = None) -> None:
        """Send a frame; where it is allowed, it leads to a state, or to the one there is."""
        if self.state is not CLOSED:
            self._expect(frame, leads_to)
        self.client.say(frame)

    def _expect(self, frame: Any, leads_to: SessionState | None) -> None:
        if getattr(frame, "id", None) is not None:
            self.asked[frame.id] += 1
        if type(frame) not in ALLOWED[self.state]:
            self.offend()
        elif leads_to is not None:
            self.state = leads_to

    def offend(self) -> None:
        """Take note of an offence, of which so many are too many."""
        self.offences += 1
        if self.offences >= OFFENCES_MAX:
            self.state = CLOSED

    @property
    def answered(self) -> Counter[int]:
        """The ids that were answered."""
        ids = (getattr(frame, "id", None) for frame in self.client.frames)
        return Counter(number for number in ids if number is not None)


class Sessions(RuleBasedStateMachine):
    seats = Bundle("seats")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_debug(False)
        self.stack = AsyncExitStack()
        node = self.stack.enter_async_context(running())
        self.node: NodeInMemory = self.loop.run_until_complete(node)
        self.all: list[Seat] = []
        self.do(self._register())

    def do(self, work: Any) -> Any:
        """Run something, and everything that waits for nothing but its turn."""

        async def whole() -> Any:
            result = await work
            await self.node.settle()
            return result

        return self.loop.run_until_complete(whole())

    def call(self, function: Any, *given: Any, **named: Any) -> None:
        """Call something of the node's within its loop."""

        async def within() -> None:
            function(*given, **named)

        self.do(within())

    async def _register(self) -> None:
        key = KEY.public_key().public_bytes_raw()
        record = RobotRecord(RobotName("keyed"), key, 0)
        await self.node.store.register(record, enrolment=enrolment("t" * 16))

    # Clients come, and say who they are.

    def _new_seat(self, codec: Codec) -> Seat:
        seat = Seat(self.node, codec, f"r{len(self.all)}")
        self.all.append(seat)
        return seat

    @rule(target=seats, codec=st.sampled_from((MSGPACK, JSON)))
    def connect(self, codec: Codec) -> Seat:
        return self._new_seat(codec)

    @rule(target=seats, codec=st.sampled_from((MSGPACK, JSON)), auto=st.booleans())
    def come_in(self, codec: Codec, auto: bool) -> Seat:
        seat = self._new_seat(codec)
        self.call(seat.say, self.node.hello(seat.robot, auto=auto), leads_to=OPEN)
        return seat

    @rule(seat=seats)
    def hello(self, seat: Seat) -> None:
        self.call(seat.say, self.node.hello(seat.robot), leads_to=OPEN)

    @rule(seat=seats)
    def hello_with_a_token_of_somebody_else(self, seat: Seat) -> None:
        token = self.node.bearer_token("somebody")
        self.call(seat.say, frames.Hello(seat.robot, token=token), leads_to=CLOSED)

    @rule(seat=seats)
    def hello_by_key(self, seat: Seat) -> None:
        self.call(seat.say, frames.Hello("keyed", f"d-{seat.robot}"), leads_to=CHALLENGED)

    @rule(seat=seats)
    def prove(self, seat: Seat) -> None:
        nonce = seat.client.connection.nonce
        if nonce is None:
            self.prove_wrongly(seat)
            return
        server = seat.client.of(Challenge)[-1].server
        text = f"imserver.v1 {server} {nonce} keyed d-{seat.robot}"
        self.call(seat.say, frames.Prove(KEY.sign(text.encode())), leads_to=OPEN)

    @rule(seat=seats)
    def prove_wrongly(self, seat: Seat) -> None:
        self.call(seat.say, frames.Prove(bytes(64)), leads_to=CLOSED)

    # They ask for things, right and wrong.

    @rule(seat=seats, data=st.data(), count=st.integers(1, 4))
    def ask(self, seat: Seat, data: st.DataObject, count: int) -> None:
        strategy = requests_in_json if seat.codec is JSON else requests
        for _ in range(count):
            self.call(seat.say, data.draw(strategy))

    @rule(seat=seats, number=st.integers(0, 2**53 - 1), group=st.sampled_from("ab"))
    def create(self, seat: Seat, number: int, group: str) -> None:
        self.call(seat.say, frames.CreateGroup(number, group, open=True))

    @rule(seat=seats, number=st.integers(0, 2**53 - 1))
    def break_the_protocol(self, seat: Seat, number: int) -> None:
        """What cannot be read is told at once, before what waits."""
        if not seat.client.connection.is_closed:
            seat.asked[number] += 1
        if seat.state is not CLOSED:
            seat.offend()
        fields = {"t": "fly", "id": number}
        message = json.dumps(fields).encode() if seat.codec is JSON else msgpack.packb(fields)
        self.call(seat.client.connection.on_message, message)

    # The store takes its time, and clients do not take their answers, or are gone.

    @rule(gate=st.sampled_from(GATES))
    def shut(self, gate: str) -> None:
        getattr(self.node.store, gate).shut = True

    @rule(gate=st.sampled_from(GATES), index=st.integers(0, 3))
    def let_one_through(self, gate: str, index: int) -> None:
        held = getattr(self.node.store, gate)
        if len(held):
            self.call(held.let_one, index % len(held))

    @rule()
    def open_all_gates(self) -> None:
        self.call(self.node.store.open_all)

    @rule(seat=seats)
    def be_congested(self, seat: Seat) -> None:
        seat.client.link.congested = True

    @rule(seat=seats)
    def drain(self, seat: Seat) -> None:
        self.call(self._drained, seat)

    def _drained(self, seat: Seat) -> None:
        seat.client.link.congested = False
        seat.client.connection.on_drained()

    @rule(seat=seats, clean=st.booleans())
    def lose(self, seat: Seat, clean: bool) -> None:
        seat.state = CLOSED
        seat.is_lost = True
        self.call(seat.client.connection.on_lost, clean=clean)

    # What must be so.

    @invariant()
    def nothing_is_answered_twice_or_without_being_asked(self) -> None:
        for seat in self.all:
            assert not seat.answered - seat.asked

    @invariant()
    def no_request_is_a_fault_of_the_servers(self) -> None:
        for seat in self.all:
            codes = {error.code for error in seat.client.of(Error)}
            assert ErrorCode.INTERNAL not in codes

    @invariant()
    def a_goodbye_is_said_once(self) -> None:
        for seat in self.all:
            assert len(seat.client.link.closes) <= 1
            assert len(seat.client.of(Welcome)) <= 1

    @rule()
    def come_to_rest(self) -> None:
        """Let all happen that waits; then each session is where the table says, and all is answered."""
        self.call(self.node.store.open_all)
        for seat in self.all:
            if not seat.is_lost:
                self.call(self._drained, seat)
        for _ in range(TURNS_MAX):
            if all(seat.client.connection.is_idle or seat.state is CLOSED for seat in self.all):
                break
            self.call(self.node.store.open_all)
        for seat in self.all:
            self._compare(seat)

    def _compare(self, seat: Seat) -> None:
        connection = seat.client.connection
        assert connection.state is seat.state
        if seat.state is CLOSED:
            assert seat.is_lost or len(seat.client.link.closes) == 1
        else:
            assert seat.answered == seat.asked
            assert connection.is_idle and seat.client.is_read() and not connection._bytes
            assert (connection.session is not None) == (seat.state is OPEN)

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            for seat in self.all:
                self.lose(seat, clean=False)
            assert len(self.node.node.sessions) == 0, "a session outlives its connection"
        finally:
            self.loop.run_until_complete(self.stack.aclose())
            self.loop.close()


TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
