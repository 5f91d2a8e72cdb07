"""The session shell: one client, whatever its transport.

It turns messages into frames, checks them against the table of session states, and hands them to the use
cases in the order they came. A request that has to wait for the store holds back the connection's later
frames, and after a while its reading, but no other connection. It is the `Peer` that logic speaks to.

It does not know how bytes travel (`Link`) nor what a request does (`requests`).
"""

import logging
from collections.abc import Coroutine, Set
from typing import Any

from msgspec import Struct

from imserver.access.backlog import Backlog
from imserver.access.context import Context
from imserver.access.kept_signals import KeptSignals
from imserver.access.link import Link
from imserver.access.refusals import refusal_of
from imserver.core.errors import Refusal
from imserver.core.tasks import Enclosing
from imserver.logic.session import Session
from imserver.protocol.client_frames import ClientFrame, Hello
from imserver.protocol.codec import Codec, InvalidFrame
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.server_frames import Bye, Error
from imserver.protocol.session_states import ALLOWED, SessionState
from imserver.protocol.shared_frame import SharedFrame

_log = logging.getLogger("imserver.connection")

REQUEST_BYTES_MAX = 1024 * 1024
"""Bytes of one connection's requests that wait for their turn or their answer; beyond, reading pauses."""

_EXPECTED = {
    SessionState.FRESH: "say `hello` (or `register`) first",
    SessionState.CHALLENGED: "answer the challenge with `prove` first",
    SessionState.OPEN: "the session is open already; `register`, `hello` and `prove` come before it",
}


class Connection:
    """A client's frames in and out.

    Attributes:
        state: how far it has come.
        vouched: robots that the client's certificate names, as which it needs no other proof.
        has_said_bye: the client was told by a `bye` that the server closes.
        hello: the client's `hello`, until the session is open.
        nonce: the challenge that was sent, until it is answered.
        session: the open session.
    """

    __slots__ = (
        "_busy",
        "_bytes",
        "_codec",
        "_context",
        "_link",
        "_offences",
        "_paused",
        "_signals",
        "_unanswered",
        "_waiting",
        "has_said_bye",
        "hello",
        "nonce",
        "session",
        "state",
        "vouched",
    )

    def __init__(
        self, link: Link, codec: Codec, context: Context, vouched: Set[str] = frozenset()
    ) -> None:
        self._link = link
        self._codec = codec
        self._context = context
        self._busy = False
        self._bytes = 0
        self._offences = 0
        self._paused = False
        self._unanswered = 0
        self._waiting: Backlog | None = None
        self._signals: KeptSignals | None = None
        self.state = SessionState.FRESH
        self.vouched = vouched
        self.has_said_bye = False
        self.hello: Hello | None = None
        self.nonce: str | None = None
        self.session: Session | None = None

    def enter(self, session: Session) -> None:
        """Take the session that was opened for this client."""
        self.hello = None
        self.session = session
        self.state = SessionState.OPEN

    # What the transport tells.

    def on_message(self, message: bytes) -> None:
        """Take in one message."""
        if self.state is SessionState.CLOSED:
            return
        try:
            frame = self._codec.decode_client(message)
        except InvalidFrame as exc:
            self.offend(str(exc), request_id=exc.request_id)
            return
        if self._busy or self._waiting or self._link.congested:
            self._waiting = self._waiting or Backlog()
            self._waiting.add(frame, len(message))
            self.pace()
        else:
            self._handle(frame, len(message))

    def on_lost(self, *, clean: bool) -> None:
        """Take in that the transport is gone, after a goodbye of the client's or without one."""
        self.state = SessionState.CLOSED
        self._waiting = None
        if self.session is not None:
            session, self.session = self.session, None
            self._context.sessions.close(session, "clean" if clean else "lost")

    def on_drained(self) -> None:
        """Take in that the outbound buffer has room again."""
        if self.state is SessionState.CLOSED:
            return
        if self._signals is not None:
            signals, self._signals = self._signals, None
            for framed in signals.encoded():
                self._link.write(framed)
        if self.session is not None:
            self._context.sessions.on_drained(self.session)
        self._go_on()

    def pace(self) -> None:
        """Read no faster than the client takes its answers and the store takes its events."""
        waiting, size = self._unanswered, self._bytes
        if self._waiting:
            waiting, size = waiting + len(self._waiting), size + self._waiting.size
        limit = self._context.limits.requests_max
        if self._paused:
            is_low = waiting <= limit // 2 and size <= REQUEST_BYTES_MAX // 2
            if is_low and not self._link.congested:
                self._paused = False
                self._link.resume_reading()
        elif waiting >= limit or size >= REQUEST_BYTES_MAX or self._link.congested:
            self._paused = True
            self._link.pause_reading()

    def offend(self, message: str, *, request_id: int | None = None) -> None:
        """Tell the client that it broke the protocol; too often, and it is closed."""
        if self.state is SessionState.CLOSED:
            return
        self._offences += 1
        fatal = self._offences >= self._context.settings.offences_max
        self.send(Error(ErrorCode.BAD_FRAME, message, fatal, id=request_id))
        if fatal:
            self._context.metrics.closed_for_offences.inc()
            self._end(CloseCode.POLICY, "too many malformed frames")

    # The port `Peer`, what logic tells.

    @property
    def is_closed(self) -> bool:
        return self.state is SessionState.CLOSED

    @property
    def congested(self) -> bool:
        return self._link.congested

    @property
    def paused(self) -> bool:
        """Whether the client is not read from at present, for reasons of ours or its own."""
        return self._paused

    @property
    def is_idle(self) -> bool:
        """Whether no request of the client's waits for its turn or its answer."""
        return not (self._unanswered or self._busy or self._waiting)

    def send(self, frame: Struct) -> None:
        if self.state is not SessionState.CLOSED:
            self._link.write(self._link.form.encode(frame))

    def answer(self, frame: Struct) -> None:
        # Answers come in another order than requests now and then: each is taken for one of average size.
        self._bytes -= self._bytes // max(self._unanswered, 1)
        self._unanswered -= 1
        if self.state is not SessionState.CLOSED:
            self._link.write(self._link.form.encode(frame))
            if self._paused:
                self.pace()

    def push(self, shared: SharedFrame) -> bool:
        link = self._link
        if link.congested or self.state is SessionState.CLOSED:
            return False
        try:
            framed = shared.encoded(link.form)
        except Exception:
            # It must not end the fan-out to others: what one form cannot express ends its reader alone.
            _log.exception("frame.unencodable", extra={"frame": type(shared.frame).__name__})
            self._end(CloseCode.INTERNAL, "an event could not be written in this codec")
            return False
        link.push(framed)
        return True

    def signal(self, key: tuple[str, str, str], shared: SharedFrame) -> None:
        if self._link.congested:
            self._signals = self._signals or KeptSignals(self._link.form)
            self._signals.keep(key, shared)
        else:
            self.push(shared)

    def close(self, code: int, reason: str, *, retry_after_ms: int | None = None) -> None:
        if self.state is not SessionState.CLOSED:
            self.send(Bye(code, reason, retry_after_ms))
            self.has_said_bye = True
            self._end(code, reason)

    # What happens to a frame.

    def _handle(self, frame: ClientFrame, size: int) -> None:
        if type(frame) not in ALLOWED[self.state]:
            self._out_of_place(frame)
            return
        request_id = getattr(frame, "id", None)
        if request_id is not None:
            self._unanswered += 1
            self._bytes += size
        try:
            work = self._context.requests.handle(self, frame, self._codec)
        except Exception as exc:
            self._refuse(frame, refusal_of(exc, request=type(frame).__name__))
        else:
            if work is not None:
                self._busy = True
                self._context.spawn(Enclosing(self._finish(frame, work), work), "request")
        self.pace()

    async def _finish(self, frame: ClientFrame, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as exc:
            self._refuse(frame, refusal_of(exc, request=type(frame).__name__))
        self._busy = False
        self._go_on()

    def _go_on(self) -> None:
        """Handle the frames that wait, as far as the client takes the answers."""
        while self._waiting and not self._busy and not self._link.congested:
            frame, size = self._waiting.next()
            self._handle(frame, size)
        self.pace()

    def _refuse(self, frame: ClientFrame, refusal: Refusal) -> None:
        fatal = refusal.code is ErrorCode.UNAUTHENTICATED and self.state is not SessionState.OPEN
        error = Error(
            refusal.code,
            refusal.message,
            fatal,
            id=getattr(frame, "id", None),
            retry_after=refusal.retry_after_ms,
        )
        if error.id is None:
            self.send(error)
        else:
            self.answer(error)
        if fatal:
            self._end(CloseCode.UNAUTHENTICATED, refusal.code)

    def _out_of_place(self, frame: ClientFrame) -> None:
        if self.state is SessionState.CLOSED:
            return
        request_id, message = getattr(frame, "id", None), _EXPECTED[self.state]
        if self.state is SessionState.OPEN:
            self.offend(message, request_id=request_id)
            return
        self._offences += 1
        fatal = self._offences >= self._context.settings.offences_max
        self.send(Error(ErrorCode.UNAUTHENTICATED, message, fatal, id=request_id))
        if fatal:
            self._end(CloseCode.UNAUTHENTICATED, message)

    def _end(self, code: int, reason: str) -> None:
        self.state = SessionState.CLOSED
        self._waiting = None
        self._link.close(code, reason)
