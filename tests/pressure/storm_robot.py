"""One robot of a storm: the wire and nothing more, with the SDK's rules about when to come back.

A robot of the SDK keeps an outbox, a memory and an application; five thousand of those would measure
themselves. This one proves its key, keeps how far it is in each conversation, holds the server to an unbroken
run of events, acks them, and waits between attempts as the SDK does (`client_sdk.backoff`).
"""

import asyncio
import random
import re
from collections import Counter
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from client_sdk.backoff import Backoff, Reconnect
from client_sdk.errors import RobotError
from client_sdk.options import Options
from imserver.protocol import server_frames
from imserver.protocol.client_frames import Ack, Frame, Hello, Position, Prove, Register
from imserver.protocol.errors import CloseCode
from imserver.protocol.proof import signed_text
from imserver.protocol.server_frames import Bye, Challenge, Error, Ok, Welcome
from tests.pressure import wire

ABNORMAL: Final = 1006
HOST: Final = "127.0.0.1"
_DEFAULTS: Final = Options()


class SeqSeen(Struct, gc=False):
    """What a robot of a storm needs of an event."""

    seq: int


class RunSeen(Struct, tag_field="t", tag="deliver", gc=False):
    """What it needs of a ``deliver``."""

    conv: str
    epoch: str
    events: list[SeqSeen]


_decode = msgspec.msgpack.Decoder(
    RunSeen
    | server_frames.Challenge
    | server_frames.Welcome
    | server_frames.Ok
    | server_frames.Error
    | server_frames.SignalValue
    | server_frames.Head
    | server_frames.Gap
    | server_frames.Bye
).decode


class Tally:
    """What the robots of one storm share, and what they saw since it began.

    Attributes:
        outcomes: how attempts to connect ended: ``welcomed``, an HTTP status, a close code, an error.
        openings: sessions opened, by second.
        greetings_s: from the attempt that was welcomed to its welcome.
        levels_s: when each robot had everything that its welcome told of.
        waits_s: how long robots that were online wait before they come back.
        broken: the first thing that the server must never do.
    """

    def __init__(self, port: int, dice: random.Random) -> None:
        self.port: Final = port
        self.dice: Final = dice
        self.loop: Final = asyncio.get_running_loop()
        self.may_connect = True
        self.online = 0
        self.broken: str | None = None
        self.unacked: dict[StormRobot, None] = {}
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self.began_s = self.loop.time()
        self.outcomes: Counter[str] = Counter()
        self.openings: Counter[int] = Counter()
        self.greetings_s: list[float] = []
        self.levels_s: list[float] = []
        self.waits_s: list[float] = []

    def since_s(self) -> float:
        """Return the seconds since the storm began."""
        return self.loop.time() - self.began_s

    def fail(self, robot: str, text: str) -> None:
        """Note what the server must never do."""
        if self.broken is None:
            self.broken = f"{robot}: {text}"


class StormRobot(asyncio.Protocol):
    """One robot, over any number of connections.

    Attributes:
        places: how far it is, by conversation.
    """

    def __init__(self, tally: Tally, name: str, *, token: str) -> None:
        self.name = name
        self.places: dict[str, int] = {}
        self._tally = tally
        self._key = Ed25519PrivateKey.generate()
        self._token: str | None = token
        self._reconnect = Reconnect(
            Backoff(_DEFAULTS.backoff_base_s, _DEFAULTS.backoff_cap_s, tally.dice)
        )
        self._epochs: dict[str, str] = {}
        self._goals: dict[str, int] = {}
        self._acked: dict[str, int] = {}
        self._is_online = False
        self._is_level = False
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._begin_attempt()

    def _begin_attempt(self) -> None:
        self._began_s = self._tally.loop.time()
        self._head = b""
        self._stream = wire.Stream()
        self._is_upgraded = False
        self._goodbye: tuple[int, str] | None = None
        self._refused_with = ""

    async def connect(self) -> None:
        """Make one attempt; more follow by themselves."""
        self._begin_attempt()
        loop = self._tally.loop
        self._deadline = loop.call_later(_DEFAULTS.open_timeout_s, self._give_up)
        try:
            await loop.create_connection(lambda: self, HOST, self._tally.port)
        except OSError as exc:
            self._ended(type(exc).__name__)
        except asyncio.CancelledError:
            self._ended("no connection")

    def flush_acks(self) -> None:
        """Ack what has come since the last time."""
        if not self._is_online:
            return
        news = [(c, s) for c, s in self.places.items() if self._acked.get(c, 0) < s]
        self._acked.update(news)
        self._tell(*(Ack(conv, seq) for conv, seq in news))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's are not its subclasses
        self._write(wire.upgrade_request(self._tally.port))

    def data_received(self, data: bytes) -> None:
        if not self._is_upgraded:
            self._head += data
            data = self._upgrade()
        for first, payload in self._stream.take(data):
            if first == wire.BINARY:
                self._take(_decode(payload))
            elif first == wire.CLOSE:
                self._goodbye = (int.from_bytes(payload[:2], "big"), payload[2:].decode())
                self._write(wire.message(payload[:2], wire.CLOSE))
            elif first == wire.PING:
                self._write(wire.message(payload, wire.PONG))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ended(self._refused_with or (str(self._goodbye[0]) if self._goodbye else "cut"))

    # The handshake

    def _upgrade(self) -> bytes:
        """Take in the answer to the opening handshake; return what came behind it."""
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return b""
        status = head[9:12].decode()
        if status != "101":
            self._turned_away(status, head)
            return b""
        self._is_upgraded = True
        if self._token is None:
            self._say_hello()
        else:
            public_key = self._key.public_key().public_bytes_raw()
            self._tell(Register(id=0, robot=self.name, token=self._token, public_key=public_key))
        return rest

    def _turned_away(self, status: str, head: bytes) -> None:
        self._refused_with = status
        retry_after = re.search(rb"(?i)\r\nretry-after: *(\d+)", head)
        if retry_after is not None:
            self._goodbye = (CloseCode.OVERLOADED, status)
            self._reconnect.turned_away(int(retry_after[1]))
        self._give_up()

    def _say_hello(self) -> None:
        resume = {conv: Position(self._epochs[conv], seq) for conv, seq in self.places.items()}
        self._tell(Hello(robot=self.name, resume=resume))

    def _take(self, frame: Any) -> None:
        match frame:
            case RunSeen():
                self._deliver(frame)
            case Challenge():
                text = signed_text(
                    server=frame.server, nonce=frame.nonce, robot=self.name, device="main"
                )
                self._tell(Prove(signature=self._key.sign(text)))
            case Welcome():
                self._welcomed(frame)
            case Ok():
                self._token = None
                self._say_hello()
            case Error():
                self._tally.outcomes[frame.code] += 1
                self._reconnect.retry_after_ms = frame.retry_after
            case Bye():
                self._reconnect.told(frame)

    def _welcomed(self, welcome: Welcome) -> None:
        tally = self._tally
        now_s = tally.loop.time()
        self._reconnect.opened(now_s)
        self._cancel_deadline()
        self._is_online, self._is_level = True, False
        tally.online += 1
        tally.outcomes["welcomed"] += 1
        tally.greetings_s.append(now_s - self._began_s)
        tally.openings[int(tally.since_s())] += 1
        for state in welcome.conversations:
            self._epochs[state.conv] = state.epoch
            self._goals[state.conv] = state.seq
            self.places.setdefault(state.conv, state.acked)
        self._acked = dict(self.places)
        self._look()

    # Events

    def _deliver(self, run: RunSeen) -> None:
        first, last = run.events[0].seq, run.events[-1].seq
        place = self.places.get(run.conv, first - 1)  # or it was added while it was online
        if [event.seq for event in run.events] != list(range(place + 1, last + 1)):
            self._tally.fail(self.name, f"{run.conv} went from {place} to {first}…{last}")
        self.places[run.conv] = last
        self._epochs[run.conv] = run.epoch
        self._tally.unacked[self] = None
        if not self._is_level:
            self._look()

    def _look(self) -> None:
        if all(self.places[conv] >= seq for conv, seq in self._goals.items()):
            self._is_level = True
            self._tally.levels_s.append(self._tally.since_s())

    # Ends

    def _give_up(self) -> None:
        self._reconnect.unanswered = not self._refused_with
        if self._transport is not None:
            self._transport.abort()
        else:
            self._attempt.cancel()

    def _ended(self, how: str) -> None:
        tally = self._tally
        self._cancel_deadline()
        code, reason = self._goodbye or (ABNORMAL, "")
        wait = self._reconnect.after(code, reason, tally.loop.time())[1]
        if isinstance(wait, RobotError):
            tally.fail(self.name, f"was told to stay away: {wait}")
            return
        if self._is_online:
            self._is_online = False
            tally.online -= 1
            tally.waits_s.append(wait)
        else:
            tally.outcomes[how] += 1
        if tally.may_connect:
            tally.loop.call_later(wait, self.come)

    def come(self) -> None:
        """Start an attempt."""
        self._attempt = self._tally.loop.create_task(self.connect())

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _tell(self, *frames: Frame) -> None:
        self._write(wire.messages(*frames))

    def _write(self, frames: bytes) -> None:
        if self._transport is not None and frames:
            self._transport.write(frames)
