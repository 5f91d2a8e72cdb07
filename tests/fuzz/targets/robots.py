"""The SDK's machine: frames of a server that says anything, at any time, in any order.

A robot must never break because of what its server says. It may take events, tell gaps, ask again, hang up or
be over; what it shows of one conversation and epoch goes forwards, and each of its requests ends once.
"""

import itertools
import random
from typing import Final, get_args

from msgspec import Raw

from client_sdk.errors import RobotError
from client_sdk.introduction import Credentials, Introduction
from client_sdk.machine import Machine
from client_sdk.options import Options
from client_sdk.outbox import Repeat
from client_sdk.records import Event, Gap
from client_sdk.states import CONNECTED, State
from imserver.protocol.bodies import InvalidBody
from imserver.protocol.client_frames import History, Ping, Send
from imserver.protocol.codec import Codec, InvalidFrame
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import ConversationState, ServerFrame, Welcome
from tests.fuzz.given import Breach, Input, Outcome
from tests.fuzz.targets.messages import CODECS, FrameMaker, mutate_pieces

_STATES: Final = ("online", "online", "online", "authenticating", "registering")
_WELCOME: Final = Welcome(
    "s", "r1", "main", 0, "n", Limits(), [ConversationState("g/dock", "e1", 0, 0)]
)
WINDOW: Final = 8


class Key:
    """A key that signs nothing in particular."""

    public_key = bytes(32)

    def sign(self, text: bytes) -> bytes:
        """Return a signature of the right size."""
        return bytes(64)


class Robots:
    """What servers say to a robot."""

    name = "robots"
    share = 8

    def __init__(self) -> None:
        self._maker = FrameMaker(get_args(ServerFrame), wrong_in=60)

    def make(self, dice: random.Random) -> Input:
        codec = dice.choice(tuple(CODECS))
        count = dice.randrange(1, 12)
        pieces = tuple(self._maker.message(codec, dice) for _ in range(count))
        return Input(f"{codec} {dice.choice(_STATES)}", pieces)

    def mutate(self, given: Input, other: Input, dice: random.Random) -> Input:
        return mutate_pieces(given, other, dice)

    def check(self, given: Input) -> Outcome:
        name, _, state = given.variant.partition(" ")
        robot = Robot(CODECS[name], state)
        for now_s, message in enumerate(given.pieces, 1):
            robot.hear(message, float(now_s))
        robot.leave()
        return f"{robot.machine.state.value} {min(len(robot.shown), 3)} {min(robot.refused, 3)}"

    def close(self) -> None:
        """Hold nothing."""


class Robot:
    """A machine in a state, its application, and what both may do.

    Attributes:
        shown: what the application was shown.
        refused: messages that were no frames.
    """

    def __init__(self, codec: Codec, state: str) -> None:
        token = "t" if state == "registering" else None
        introduction = Introduction(
            Credentials(key=Key(), token=token, bearer=None),
            robot="r1",
            device="main",
            instance="i",
            window=WINDOW,
            auto=True,
            server=None,
        )
        options = Options(window=WINDOW)
        self.machine = Machine(introduction, options, codec=codec, dice=random.Random(0))
        self._codec = codec
        self._ended: set[int] = set()
        self.shown: list[Event | Gap] = []
        self.refused = 0
        self.machine.connecting(0.0)
        self.machine.connected()
        if state == "online":
            self.machine.received(_WELCOME, 0.0)
        self._ask()

    def _ask(self) -> None:
        requests = self.machine.requests
        for _ in range(3):
            number = next(self.machine.ids)
            body = Raw(b"1")
            send = Send(number, "g/dock", f"c{number}", body)
            requests.submit(send, repeat=Repeat.SAFE, deadline_s=40.0)
        requests.submit(
            History(next(self.machine.ids), "g/dock"), repeat=Repeat.SAFE, deadline_s=5.0
        )
        requests.submit(Ping(next(self.machine.ids)), repeat=Repeat.NEVER, deadline_s=5.0)

    def hear(self, message: bytes, now_s: float) -> None:
        """Take in a message, and do all that follows from it."""
        machine = self.machine
        try:
            frame = self._codec.decode_server(message)
        except InvalidFrame:
            self.refused += 1
            return
        if machine.state not in CONNECTED:
            return
        machine.received(frame, now_s)
        machine.tick(now_s)
        self._write()
        self._show(now_s)
        due_s = machine.next_deadline_s()
        if due_s is not None and due_s != due_s:  # noqa: PLR0124
            raise Breach("the next deadline is no time")
        if machine.hang_up is not None or machine.state is State.OVER:
            self._lose(now_s)

    def leave(self) -> None:
        """End it, and see that every request has ended."""
        self.machine.fail(None)
        self._collect()
        if len(self.machine.requests.outbox):
            raise Breach("requests outlive their robot")

    def _write(self) -> None:
        for frame in self.machine.take_frames():
            self._codec.encode(frame)
        self._collect()

    def _collect(self) -> None:
        for request_id, answer in self.machine.requests.take_ended():
            if request_id in self._ended:
                raise Breach(f"request {request_id} ended a second time, with {answer!r}")
            self._ended.add(request_id)

    def _show(self, now_s: float) -> None:
        inbox = self.machine.inbox
        for _ in itertools.count():
            try:
                item = inbox.next()
            except InvalidBody:
                continue  # the application is told, and goes on behind it
            if item is None:
                return
            self._judge(item)
            self.shown.append(item)
            inbox.processed(item, now_s)

    def _judge(self, item: Event | Gap) -> None:
        if isinstance(item, Gap):
            return
        for earlier in reversed(self.shown):
            if earlier.conv != item.conv:
                continue
            if (
                isinstance(earlier, Event)
                and earlier.epoch == item.epoch
                and earlier.seq >= item.seq
            ):
                raise Breach(f"{item.conv} {item.seq} is shown after {earlier.seq}")
            return

    def _lose(self, now_s: float) -> None:
        machine = self.machine
        machine.disconnected(1006, "cut", now_s)
        if machine.state is State.WAITING:
            if machine.retry_at_s < now_s:
                raise Breach(f"it is to connect again at {machine.retry_at_s}, and it is {now_s}")
            machine.connecting(now_s)
            machine.connected()
        elif machine.state is State.OVER and not isinstance(machine.failure, RobotError | None):
            raise Breach(f"it is over because of {machine.failure!r}")
