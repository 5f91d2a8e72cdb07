"""What a robot does next, decided without socket, clock or waiting.

What came in, and the time, go in: `connected`, `received`, `disconnected`, `tick`, requests. What to do comes
out: frames to write (`take_frames`), requests that ended, `notes` for the robot's memory, `hang_up`,
`retry_at_s`, `failure`, `next_deadline_s`. `link` performs it; tests drive the machine by hand.

    NEW → CONNECTING → [REGISTERING →] AUTHENTICATING → ONLINE → WAITING → CONNECTING → … → OVER

What passes by itself leads to WAITING, what does not to OVER, with a `failure`.
"""

import itertools
import logging
import random
from collections.abc import Sequence
from functools import partial
from typing import assert_never

from msgspec import Struct

from client_sdk.backoff import Backoff, Reconnect
from client_sdk.clock import WallClock, wall_clock_ms
from client_sdk.errors import Refused, RobotError, WrongServer
from client_sdk.follows import Follows
from client_sdk.inbox import Inbox
from client_sdk.introduction import Introduction
from client_sdk.kept_sends import KeptSends
from client_sdk.memory import Recollection
from client_sdk.notes import Notes, Then
from client_sdk.options import Options
from client_sdk.outbox import REQUESTS_MAX
from client_sdk.requests import Requests
from client_sdk.signals import SignalBoard
from client_sdk.states import CONNECTED, MOVES, State
from imserver.protocol import server_frames as wire
from imserver.protocol.codec import Codec
from imserver.protocol.errors import MEANING, CloseCode, Retry
from imserver.protocol.limits import Limits

_log = logging.getLogger("client_sdk")


class Machine:
    """One robot's session with its server, over any number of connections.

    Attributes:
        inbox, requests, signals: what comes in and goes out.
        introduction, notes: how it says who it is; what goes into the robot's memory.
        options, ids, follows: the knobs; numbers for requests; conversations that were asked for.
        state, limits: where the connection is; the server's, or the protocol's before a welcome.
        failure: why it is over; None if it was closed.
        open_by_s: in CONNECTING, when this attempt is given up.
        hang_up: close code and reason, when the connection is to be closed.
        reconnect, retry_at_s: whether and when to come back; in WAITING, when.
        last_problem, connections: why the last one ended, or did not come up; sessions opened.
    """

    def __init__(
        self,
        introduction: Introduction,
        options: Options,
        *,
        codec: Codec,
        dice: random.Random,
        clock_ms: WallClock = wall_clock_ms,
    ) -> None:
        self.introduction = introduction
        self.options = options
        self.reconnect = Reconnect(Backoff(options.backoff_base_s, options.backoff_cap_s, dice))
        self.inbox = Inbox(codec.decode_body, window=options.window)
        self.notes = Notes()
        self.requests = Requests(dice, self.notes, KeptSends(codec, clock_ms, options))
        self.signals = SignalBoard(codec.decode_body, signals_max=options.signals_max)
        self.ids = itertools.count(1)
        self.follows = Follows(self.ids)
        self.state = State.NEW
        self.limits = Limits()
        self.failure: RobotError | None = None
        self.hang_up: tuple[int, str] | None = None
        self.retry_at_s = self.open_by_s = 0.0
        self.last_problem = "no attempt was made"
        self.connections = 0
        self._frames: list[Struct] = []
        self._attempt = 0

    def recall(self, recollection: Recollection) -> None:
        """Begin with what the robot's memory holds; from now on it is kept."""
        self.notes.keeps = True
        self.notes.add(*self.introduction.recall(recollection))
        self.inbox.recall(recollection)
        self.requests.recall(recollection.sends, self.ids)

    def connecting(self, now_s: float) -> None:
        """Begin an attempt to connect."""
        self._move(State.CONNECTING)
        self._attempt += 1
        self.open_by_s = now_s + self.options.open_timeout_s

    def connected(self) -> None:
        """The transport is open: say who we are."""
        if self.state is State.OVER:
            return
        registration = self.introduction.registration(next(self.ids))
        if registration is None:
            self._say_hello()
        else:
            self._move(State.REGISTERING)
            self._frames.append(registration)

    def received(self, frame: wire.ServerFrame, now_s: float) -> None:
        """Take in a frame of the server."""
        match frame:
            case wire.Deliver():
                self.inbox.deliver(frame, now_s)
            case wire.Sent():
                self.requests.stored(frame)
            case wire.Ok() | wire.Pong():
                self._answered(frame)
            case wire.Error():
                self._refused(frame, now_s)
            case wire.SignalValue():
                self.signals.put(frame)
            case wire.Gap() if frame.id is None:
                self.inbox.gap(frame, now_s)
            case wire.Head():
                self.inbox.announced(frame, now_s)
            case wire.Challenge() | wire.Welcome():
                self._greeted(frame, now_s)
            case wire.Bye():
                self.reconnect.told(frame)
            case wire.StreamChunk() | wire.Receipt() | wire.Gap():  # a gap in a page of history
                _log.debug("frame.without_a_reader", extra={"frame": type(frame).__name__})
            case _:
                assert_never(frame)
        self._ask_repairs()
        if self.inbox.is_lost and self.state is State.ONLINE:
            self.hang_up = (CloseCode.NORMAL, "a conversation is missing")

    def disconnected(self, code: int, reason: str, now_s: float) -> None:
        """The transport is gone, or did not come up: decide whether and when to connect again."""
        if self.state is State.OVER:
            return
        self.last_problem, wait = self.reconnect.after(code, reason, now_s)
        self.requests.connection_lost()
        self._frames.clear()
        self.follows.clear()
        self.hang_up = None
        if isinstance(wait, RobotError):
            self.fail(wait)
        else:
            self.retry_at_s = now_s + wait
            self._move(State.WAITING)

    def post(self, frame: Struct) -> None:
        """Write a frame that has no answer if the robot is online; else it is dropped."""
        if self.state is State.ONLINE:
            self._frames.append(frame)

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        self.requests.tick(now_s)
        due_s = self.inbox.due_s(acks=self.state is State.ONLINE)
        if due_s is not None and due_s <= now_s:
            self.flush_acks()
        if self.state is State.ONLINE:
            self.inbox.repairs.tick(now_s)
            self._ask_repairs()
        elif self.state in CONNECTED and now_s >= self.open_by_s:
            self.reconnect.unanswered = True
            self.hang_up = (CloseCode.GOING_AWAY, "the server did not say welcome in time")

    def flush_acks(self) -> None:
        """Write the acks that wait for company, once the robot's memory has the places."""
        places = self.inbox.places.take() if self.inbox.places is not None else []
        acks = self.inbox.acks.take() if self.state is State.ONLINE else []
        records = self.inbox.opener.take(places) if self.inbox.opener is not None else []
        if places or acks or records:
            self.notes.add(*places, *records, then=partial(self._say, self._attempt, acks))

    def fail(self, failure: RobotError | None) -> None:
        """End it for good: with an error for all who wait, or with None because it was asked for."""
        if self.state is State.OVER:
            return
        self._move(State.OVER)
        self.failure = failure
        self.requests.close(failure)

    def take_frames(self) -> list[Struct]:
        """Return the next frames to write, in order; empty if there is nothing more now."""
        frames, self._frames = self._frames, []
        if self.state is State.ONLINE:
            frames.extend(self.requests.outbox.take())
        return frames

    def next_deadline_s(self) -> float | None:
        """Return when `tick` has something to do."""
        is_online = self.state is State.ONLINE
        dues = [self.requests.next_deadline_s(), self.notes.due_s, self.inbox.due_s(acks=is_online)]
        if is_online:
            dues.append(self.inbox.repairs.next_deadline_s())
        elif self.state in CONNECTED and self.hang_up is None:
            dues.append(self.open_by_s)
        return min((due_s for due_s in dues if due_s is not None), default=None)

    def _say(self, attempt: int, frames: Sequence[Struct]) -> None:
        """Write frames that belong to the connection of an attempt, if it is still there."""
        if attempt == self._attempt and self.state in CONNECTED:
            self._frames.extend(frames)

    def _move(self, state: State) -> None:
        if state not in MOVES[self.state]:
            raise RuntimeError(f"no move leads from {self.state.value} to {state.value}")
        _log.debug("robot.state", extra={"was": self.state.value, "is": state.value})
        self.state = state

    def _say_hello(self) -> None:
        self._move(State.AUTHENTICATING)
        positions = self.inbox.resume(self.limits.frame_bytes_max // 2)
        self.notes.add(then=partial(self._say, self._attempt, [self.introduction.hello(positions)]))

    def _greeted(self, frame: wire.Challenge | wire.Welcome, now_s: float) -> None:
        if self.state is not State.AUTHENTICATING:
            _log.warning("frame.out_of_place", extra={"frame": type(frame).__name__})
            return
        try:
            self.introduction.check(frame.server)
            if isinstance(frame, wire.Welcome):
                self._welcomed(frame, now_s)
            else:
                proof = self.introduction.proof(frame)
                self._bind(frame.server, partial(self._say, self._attempt, [proof]))
        except WrongServer as problem:
            self.fail(problem)

    def _bind(self, server: str, then: Then) -> None:
        """Go on once the robot's memory, if it has one, belongs to this server for good."""
        bound = self.introduction.bind(server) if self.notes.keeps else []
        self.notes.add(*bound, then=then)

    def _welcomed(self, frame: wire.Welcome, now_s: float) -> None:
        self._move(State.ONLINE)
        self.reconnect.opened(now_s)
        self.connections += 1
        self.limits = frame.limits
        self.requests.outbox.requests_max = min(REQUESTS_MAX, frame.limits.requests_max)
        self.introduction.welcomed(frame.session)
        self.inbox.welcome(frame.conversations)
        self._frames += self.follows.ask_again(self.inbox)
        self.requests.outbox.is_held = True
        self._bind(frame.server, self.requests.outbox.release)

    def _answered(self, frame: wire.Ok | wire.Pong) -> None:
        if self.state is State.REGISTERING:
            self.introduction.registration_answered(None)
            self._say_hello()
        elif self.follows.ended(frame.id) is None:
            self.requests.answered(frame)

    def _refused(self, frame: wire.Error, now_s: float) -> None:
        refusal = Refused(frame.code, frame.message, frame.retry_after)
        passes = MEANING[frame.code][0] is not Retry.NEVER
        if self.state in (State.REGISTERING, State.AUTHENTICATING):
            self._greeting_refused(refusal, passes=passes, fatal=frame.fatal)
        elif frame.id is None:
            _log.warning("server.error", extra={"code": frame.code, "problem": frame.message})
        elif (conv := self.follows.ended(frame.id)) is not None:
            if passes:
                self.inbox.repairs.put_off(self.inbox.known(conv), now_s)
            else:
                self.inbox.beyond_repair(conv, frame.message)
        else:
            self.requests.refused(frame.id, refusal, now_s)

    def _greeting_refused(self, refusal: Refused, *, passes: bool, fatal: bool) -> None:
        if passes:
            self.reconnect.retry_after_ms = refusal.retry_after_ms
        elif self.state is State.AUTHENTICATING:
            self.reconnect.at_once = self.introduction.other_key()
            if not self.reconnect.at_once:
                self.fail(self.introduction.refused(refusal))
        else:
            self.introduction.registration_answered(refusal)
            self.reconnect.at_once = fatal
            if not fatal:
                self._say_hello()
        if passes or self.reconnect.at_once:
            self.hang_up = (CloseCode.NORMAL, "")

    def _ask_repairs(self) -> None:
        for conv, after in self.inbox.repairs.take():
            _log.warning("events.repair", extra={"conv": conv, "after": after})
            self._frames.append(self.follows.ask(conv, after))
