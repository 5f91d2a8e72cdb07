"""The session shell: one client, whatever its transport.

It turns messages into frames, checks them against the table of session states, and hands them to the use
cases in the order they came. A request that has to wait for the store holds back the connection's later
frames, and after a while its reading, but no other connection. It is the `Peer` that logic speaks to.

It does not know how bytes travel (`Link`) nor what a request does (`requests`).
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence, Set
from typing import Any

from msgspec import Struct

from imserver.access.backlog import Backlog
from imserver.access.context import Context
from imserver.access.kept_signals import KeptSignals
from imserver.access.link import Link
from imserver.access.paced_reading import PacedReading
from imserver.access.refusals import refusal_of
from imserver.access.tolls import too_fast
from imserver.core.errors import Refusal
from imserver.core.tasks import Enclosing
from imserver.logic.session import Session
from imserver.protocol.client_frames import Ack, ClientFrame, Hello
from imserver.protocol.codec import Codec, InvalidFrame
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.server_frames import Bye, Error
from imserver.protocol.session_states import ALLOWED, SessionState
from imserver.protocol.shared_frame import SharedFrame

_log = logging.getLogger("imserver.connection")

WAITING_A_TURN = 128
"""Frames that waited and are handled in one turn of the loop."""

_DID_NOT_WAIT = "too many frames came too fast, and did not wait"
_EXPECTED = {
    SessionState.FRESH: "say `hello` (or `register`) first",
    SessionState.CHALLENGED: "answer the challenge with `prove` first",
    SessionState.OPEN: "the session is open already; `register`, `hello` and `prove` come before it",
}


class Connection(PacedReading):
    """A client's frames in and out.

    Attributes:
        vouched: robots that the client's certificate names, as which it needs no other proof.
        has_said_bye: the client was told by a `bye` that the server closes.
        hello: the client's `hello`, until the session is open.
        nonce: the challenge that was sent, until it is answered.
        session: the open session.
    """

    __slots__ = (
        "_codec",
        "_offences",
        "_signals",
        "has_said_bye",
        "hello",
        "nonce",
        "session",
        "vouched",
    )

    def __init__(
        self, link: Link, codec: Codec, context: Context, vouched: Set[str] = frozenset()
    ) -> None:
        super().__init__(link, context)
        self._codec = codec
        self._offences = 0
        self._signals: KeptSignals | None = None
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
        self._toll.robot = session.robot
        if self._waiting:
            self._waiting.sift(self._comes_in_time)  # it came when nobody knew whose it was

    # What the transport tells.

    def on_message(self, message: bytes) -> None:
        """Take in one message."""
        self.on_messages((message,))

    def on_messages(self, messages: Sequence[bytes]) -> None:
        """Take in messages that came at once, a few: only before the first is asked whether the client takes
        its answers, and only behind the last, whether it is read from."""
        decode, is_congested = self._codec.decode_client, self._link.congested
        is_paid = self._toll.pays(len(messages), sum(map(len, messages)))
        for message in messages:
            if self.state is SessionState.CLOSED:
                return
            size = len(message)
            wait_s = 0.0 if is_paid else self._charge(size)
            try:
                frame = decode(message)
            except InvalidFrame as exc:
                self.offend(str(exc), request_id=exc.request_id)
                continue
            if wait_s and self._comes_too_fast(frame, size, wait_s):
                continue
            if self._busy or self._waiting or is_congested:
                self._waiting = self._waiting or Backlog()
                self._waiting.add(frame, size)
            else:
                self._handle(frame, size)
        self.pace()

    def on_lost(self, *, clean: bool) -> None:
        """Take in that the transport is gone, after a goodbye of the client's or without one."""
        self._toll.leave()
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

    def offend(
        self,
        message: str,
        *,
        request_id: int | None = None,
        code: ErrorCode = ErrorCode.BAD_FRAME,
    ) -> None:
        """Tell the client that it broke the protocol; too often, and it is closed."""
        if self.state is SessionState.CLOSED:
            return
        self._offences += 1
        fatal = self._offences >= self._context.settings.offences_max
        self.send(Error(code, message, fatal, id=request_id))
        if fatal and code is ErrorCode.UNAUTHENTICATED:
            self._end(CloseCode.UNAUTHENTICATED, message)
        elif fatal:
            self._context.metrics.closed_for_offences.inc()
            self._end(CloseCode.POLICY, "too many malformed frames")

    # The port `Peer`, what logic tells.

    @property
    def is_closed(self) -> bool:
        return self.state is SessionState.CLOSED

    @property
    def congested(self) -> bool:
        return self._link.congested

    def send(self, frame: Struct) -> None:
        if self.state is not SessionState.CLOSED:
            self._link.write(self._link.form.encode(frame))

    def answer(self, frame: Struct) -> None:
        # Answers come in another order than requests now and then: each is taken for one of average size.
        self._bytes -= self._bytes // (self._unanswered or 1)
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

    def sign_of_life(self) -> bool | None:
        """Return whether the client answers, as its link says."""
        return self._link.sign_of_life()

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

    async def _finish(self, frame: ClientFrame, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as exc:
            self._refuse(frame, refusal_of(exc, request=type(frame).__name__))
        self._busy = False
        self._go_on()

    def _go_on(self) -> None:
        """Handle the frames that wait, as far as the client takes the answers, some in a turn of the loop."""
        for _ in range(WAITING_A_TURN):
            if not self._waiting or self._busy or self._link.congested:
                break
            frame, size = self._waiting.next()
            self._handle(frame, size)
        else:
            asyncio.get_running_loop().call_soon(self._go_on)
        self.pace()

    def _refuse(self, frame: ClientFrame, refusal: Refusal) -> None:
        fatal = refusal.code is ErrorCode.UNAUTHENTICATED and self.state is not SessionState.OPEN
        error = _told(refusal, frame, fatal=fatal)
        if error.id is None:
            self.send(error)
        else:
            self.answer(error)
        if fatal:
            self._end(CloseCode.UNAUTHENTICATED, refusal.code)

    def _out_of_place(self, frame: ClientFrame) -> None:
        is_open = self.state is SessionState.OPEN
        code = ErrorCode.BAD_FRAME if is_open else ErrorCode.UNAUTHENTICATED
        if self.state is not SessionState.CLOSED:
            request_id = getattr(frame, "id", None)
            self.offend(_EXPECTED[self.state], request_id=request_id, code=code)

    def _comes_in_time(self, frame: ClientFrame, size: int) -> bool:
        wait_s = self._charge(size)
        return not (wait_s and self._comes_too_fast(frame, size, wait_s))

    def _comes_too_fast(self, frame: ClientFrame, size: int, wait_s: float) -> bool:
        """Refuse a frame that its sender's rates have no room for; an ack, which makes room, is free."""
        toll = self._toll
        if self.session is None:
            toll.charge(size)
            return False
        if type(frame) is Ack:
            return False
        toll.refused += 1
        self._context.metrics.refused_for_rate.inc()
        refusal = too_fast(f"frames come from {self.session.robot}", wait_s)
        self.send(_told(refusal, frame, fatal=False))
        if toll.is_exhausted:
            self._close_for_rate(refusal.retry_after_ms)
        return True

    def _close_for_rate(self, retry_after_ms: int | None) -> None:
        self.close(CloseCode.OVERLOADED, _DID_NOT_WAIT, retry_after_ms=retry_after_ms)

    def _end(self, code: int, reason: str) -> None:
        self.state = SessionState.CLOSED
        self._waiting = None
        self._link.close(code, reason)


def _told(refusal: Refusal, frame: ClientFrame, *, fatal: bool) -> Error:
    request_id, retry_after = getattr(frame, "id", None), refusal.retry_after_ms
    return Error(refusal.code, refusal.message, fatal, id=request_id, retry_after=retry_after)
