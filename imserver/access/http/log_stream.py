"""A stream: one conversation on one HTTP answer, read as a session reads it.

Its reader is one of the conversation's readers, so that past and present meet without a seam, and what
cannot be written yet stays in the log. What happens when a reader that was level falls behind is its client's
choice:

- ``buffer``: nothing is lost; what it missed comes in pages from the log, however long it takes;
- ``missing``: the same, and the server keeps nothing for it beyond what its transport holds;
- ``drop``: what it missed is skipped, and it goes on with the next event;
- ``latest``: what it missed is skipped but for the last event;
- ``error``: the stream ends.

What is skipped is told, with how much it was. Until it is level for the first time, a reader is given what
it asked for, whatever its choice. Source of the idea: `BackpressureStrategy` of RxJava's reactive streams.
"""

import enum
import logging
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from imserver.access.http.forms import StreamForm
from imserver.access.http.metrics import HttpMetrics
from imserver.access.http.outbox import Outbox
from imserver.access.http.shapes import Goodbye, Hole, hole
from imserver.access.http.visit import HTTP, WINDOW, Visit
from imserver.core.clock import Clock
from imserver.core.warrant import Warrant
from imserver.logic.conversations import Conversation
from imserver.logic.delivery import Reader
from imserver.logic.send import role_of
from imserver.logic.session import Session, Sessions
from imserver.logic.signals import Signals
from imserver.protocol.errors import CloseCode
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import AHEAD, Error, Gap
from imserver.protocol.shared_frame import SharedFrame

_log = logging.getLogger("imserver.stream")

SLOW: Final = "slow"
"""Why there is a hole in a stream whose reader was slow and had chosen to skip."""

SIGNALS_KEPT_MAX: Final = 256
"""Signals that wait for room; with more of them the oldest are lost."""

GOODBYE_TICKS_MAX: Final = 5
"""Seconds that a client gets to take what was said before the end, if it takes nothing at all."""

_UNENCODABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)


class Policy(enum.StrEnum):
    """What becomes of a reader that was level and falls behind."""

    BUFFER = "buffer"
    DROP = "drop"
    LATEST = "latest"
    ERROR = "error"
    MISSING = "missing"


class Wanted(NamedTuple):
    """What a client wants of its stream.

    Attributes:
        form: how to write it.
        policy: what to do when it falls behind.
        signals: whether signals are to come too.
        heartbeat_s: seconds of silence after which it is told that the stream is there.
        expires_ms: when the client's right to read ends, in milliseconds since 1970.
        retry_ms: when to come back if the connection fails.
    """

    form: StreamForm
    policy: Policy
    signals: bool
    heartbeat_s: float
    expires_ms: int
    retry_ms: int


class _Reading(Session):
    """The session of a stream, which tells it when there is nothing more to read."""

    __slots__ = ("_stream",)

    def __init__(self, stream: "LogStream", warrant: Warrant) -> None:
        super().__init__(stream, warrant, HTTP, session_id="")
        self.window = WINDOW
        self._stream = stream

    def leave(self, conv: ConversationName, seq: int) -> None:
        super().leave(conv, seq)
        self._stream.on_left()


class LogStream(Visit):
    """The `Peer` of a streaming answer.

    Attributes:
        outbox: what waits to be written.
        session: the session in which it reads.
    """

    def __init__(
        self,
        caller: Session,
        conversation: Conversation,
        wanted: Wanted,
        *,
        sessions: Sessions,
        outbox: Outbox,
        metrics: HttpMetrics,
        clock: Clock,
    ) -> None:
        super().__init__()
        self.outbox = outbox
        self.session = _Reading(self, caller.warrant)
        self._conversation = conversation
        self._wanted = wanted
        self._sessions = sessions
        self._metrics = metrics
        self._clock = clock
        self._has_begun = False
        self._has_fallen_behind = False
        self._quiet_ticks = 0
        self._waiting_ticks = 0
        self._signals: dict[tuple[str, str, str], SharedFrame] = {}

    def begin(self, after: int) -> None:
        """Begin to read from after ``after`` on."""
        if self.outbox.is_over:
            return
        conversation = self._conversation
        self.outbox.write(self._wanted.form.opening(retry_ms=self._wanted.retry_ms))
        if role_of(conversation, self.session) is None:
            self.on_left()  # while the client let the head of the answer wait
            return
        if after > conversation.head:
            name, epoch, head = conversation.name, conversation.epoch, conversation.head
            self.send(Gap(name, epoch, from_=head + 1, to=after, why=AHEAD))
        self._has_begun = True
        self._sessions.follow(self.session, conversation, after)
        for value in Signals.last(conversation):
            self.signal((value.conv, value.sender, value.key), SharedFrame(value))

    def on_room(self) -> None:
        """Go on with what there was no room for."""
        if self.outbox.congested or self.outbox.is_over:
            return
        if self._has_fallen_behind:
            self._has_fallen_behind = False
            self._skip()
        signals, self._signals = self._signals, {}
        for shared in signals.values():
            self.push(shared)
        self._sessions.on_drained(self.session)
        self._end_without_reader()

    def end(self, code: int, reason: str, *, retry_after_ms: int | None = None) -> None:
        """Say goodbye and end, soon and once; what is queued is written before."""
        if not self.outbox.is_over:
            self.outbox.finish(self._wanted.form.goodbye(Goodbye(code, reason, retry_after_ms)))

    def on_left(self) -> None:
        """Take in that the reader has all that it may ever have."""
        robot, conv = self.session.robot, self._conversation.name
        self.end(CloseCode.POLICY, f"{robot} reads {conv} no longer: removed, or the group ended")

    def finish(self) -> None:
        """Read no more: the answer is over."""
        self.outbox.abandon()
        self._sessions.unfollow(self.session, self._conversation.name)

    # What the connection tells.

    @property
    def blocked(self) -> bool:
        return self.outbox.blocked

    def on_tick(self) -> bool:
        self._quiet_ticks += 1
        if self._quiet_ticks >= self._wanted.heartbeat_s and not self.outbox.congested:
            self._write(self._wanted.form.sign_of_life)
        if self._clock.now_ms() >= self._wanted.expires_ms:
            self.end(
                CloseCode.UNAUTHENTICATED, "the token with which this stream was opened expired"
            )
        self._end_without_reader()
        if self.outbox.is_over and self.outbox.blocked:
            self._waiting_ticks += 1
        return self._waiting_ticks < GOODBYE_TICKS_MAX

    def on_lost(self) -> None:
        self.outbox.abandon()

    # The port `Peer`.

    @property
    def is_closed(self) -> bool:
        return self.outbox.is_over

    @property
    def congested(self) -> bool:
        return self.outbox.congested

    def push(self, shared: SharedFrame) -> bool:
        if self.outbox.is_over:
            return False
        if self.outbox.congested:
            self._refuse()
            return False
        try:
            data = shared.encoded(self._wanted.form)
        except _UNENCODABLE:
            _log.exception("frame.unencodable", extra={"frame": type(shared.frame).__name__})
            self.end(CloseCode.INTERNAL, "an event could not be written in JSON")
            return False
        self._write(data)
        return True

    def signal(self, key: tuple[str, str, str], shared: SharedFrame) -> None:
        if not self._wanted.signals:
            return
        if not self.outbox.congested:
            self.push(shared)
            return
        self._signals.pop(key, None)
        self._signals[key] = shared
        if len(self._signals) > SIGNALS_KEPT_MAX:
            del self._signals[next(iter(self._signals))]

    def send(self, frame: Struct) -> None:
        if isinstance(frame, Gap):
            goes_on_behind = frame.from_ - 1 if frame.why == AHEAD else frame.to
            self._tell_hole(hole(frame), goes_on_behind=goes_on_behind)
        elif isinstance(frame, Error):
            self.end(CloseCode.RESTART, frame.message)

    def close(self, code: int, reason: str, *, retry_after_ms: int | None = None) -> None:
        self.end(code, reason, retry_after_ms=retry_after_ms)

    def _write(self, data: bytes) -> None:
        self._quiet_ticks = 0
        self.outbox.write(data)

    def _refuse(self) -> None:
        """Note that a push found no room: a reader that is level until now falls behind by it."""
        reader = self._reader()
        if reader is None or not reader.live:
            return
        self._has_fallen_behind = True
        if self._wanted.policy is Policy.ERROR:
            reason = (
                f"you fell behind after seq {reader.sent}; with the policy `error` the stream ends"
            )
            self.end(CloseCode.POLICY, reason)

    def _skip(self) -> None:
        reader, policy = self._reader(), self._wanted.policy
        if policy not in (Policy.DROP, Policy.LATEST):
            return
        if reader is None or reader.until is not None:
            return  # its robot was removed: there is an end to come to, and it gets there
        conversation = self._conversation
        target = conversation.head - (policy is Policy.LATEST)
        count = target - reader.sent
        if count <= 0:
            return
        name, epoch, first = conversation.name, conversation.epoch, reader.sent + 1
        self._tell_hole(Hole(name, epoch, first, target, count, SLOW), goes_on_behind=target)
        self._metrics.skipped.inc(count)
        self._sessions.follow(self.session, conversation, target)

    def _tell_hole(self, missing: Hole, *, goes_on_behind: int) -> None:
        self._write(self._wanted.form.hole(missing, goes_on_behind=goes_on_behind))

    def _end_without_reader(self) -> None:
        if self._has_begun and self._reader() is None:
            self.on_left()

    def _reader(self) -> Reader | None:
        return self.session.readers.get(self._conversation.name)
