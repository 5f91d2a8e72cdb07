"""The raw TCP transport: frames behind their lengths, for controllers that have no WebSocket.

The story. Whoever connects is a stranger until its preface is in, counts as a visitor until then, and has
until the hello deadline. With the preface it becomes a link like any other: it waits for its turn to come
in, and its session shell is the same as a WebSocket's. The lengths that it announces are judged before
anything is kept for them. Every close by the server is told by a `bye`, since TCP has no close codes.

TCP has no pings either. The kernel's keepalive finds hosts that are gone (`tcp_listener`); a client that says
nothing for two ping intervals is taken for stuck, so one that has nothing to say says `ping` now and then.
"""

import asyncio
from typing import Final

from msgspec import Struct

from imserver.access.buffered_link import CLOSE_TIMEOUT_S, LOST, BufferedLink
from imserver.access.connection import Connection
from imserver.access.door import Door
from imserver.access.handshake import TurnedAway
from imserver.access.strangers import answer_to
from imserver.protocol.codec import JSON, MSGPACK, Codec
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.length_prefix import PREFACE_BYTES, PREFACES, Splitter, framed
from imserver.protocol.server_frames import Bye, Error
from imserver.protocol.session_states import SessionState


class TcpForm:
    """A codec in frames behind their lengths."""

    __slots__ = ("_encode", "codec")

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._encode = codec.encode

    def encode(self, frame: Struct) -> bytes:
        """Return the frame behind its length."""
        return framed(self._encode(frame))


FORMS: Final = {preface: TcpForm(codec) for preface, codec in PREFACES.items()}
_DEFAULT: Final = next(form for form in FORMS.values() if form.codec is MSGPACK)


class TcpLink(BufferedLink):
    """One connection to the raw TCP port; a `Link` for its session shell once the preface is in."""

    __slots__ = ("_due", "_early", "_frames", "_heard", "_is_clean", "_is_leaving", "_quiet")

    form: TcpForm

    def __init__(self, door: Door) -> None:
        super().__init__(door, _DEFAULT)
        self._early = b""
        self._frames: Splitter | None = None
        self._heard = True
        self._quiet = False
        self._is_leaving = False
        self._is_clean = False
        self._due: int | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._door.enter_visitor(self, self._host):
            self._transport.close()
            return
        self._due = self._door.wheel.due(self._door.hello_timeout_s)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._close_by is not None or self._is_leaving:
            return
        if self._frames is not None:
            self._take(self._frames, data)
        elif not self._transport.is_closing():
            self._early += data
            if self._due is not None and len(self._early) >= PREFACE_BYTES:
                self._take_preface(self._early[:PREFACE_BYTES])

    def eof_received(self) -> bool:
        """Take in that the client says no more; its answers still go out, where the transport allows it."""
        if self._connection is None or self._frames is None or self._close_by is not None:
            return False
        if not self._frames.is_between:
            text = "the connection ended within a frame: it was shorter than its length said"
            self._fail(ErrorCode.BAD_FRAME, text, CloseCode.PROTOCOL_ERROR)
        else:
            self._leave()
        return not self._transport.is_closing() and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._close_by = LOST
        self._door.leave_visitor(self)
        self._door.leave(self)
        if self._connection is not None:
            self._connection.on_lost(clean=self._is_clean)

    # Link

    def close(self, code: int, reason: str) -> None:
        if self._close_by is not None:
            return
        if self._connection is None or not self._connection.has_said_bye:
            self.write(self.form.encode(Bye(code, reason)))
        self._start_closing()

    def flush(self) -> None:
        super().flush()
        if self._is_leaving and self._close_by is None:
            self._close_when_answered()

    # Deadlines

    def check_deadline(self) -> None:
        """Give up on a stranger whose preface is overdue; called each second."""
        if self._door.draining or self._is_overdue:
            self._transport.close()

    def on_timer(self) -> float | None:
        """Give up on a client that was silent; called by the wheel."""
        if self._close_by is not None:
            # A closing transport still waits for its client to take what is left.
            if self._close_by != LOST and self._door.wheel.tick >= self._close_by:
                self._transport.abort()
            return None
        if self._transport.is_closing():
            return None
        if self._is_leaving:
            if self._is_overdue:
                self._close_now()
            return None
        if self._connection is None:
            self._transport.abort()
            return None
        if self._connection.state in (SessionState.FRESH, SessionState.CHALLENGED):
            self._connection.close(CloseCode.HELLO_TIMEOUT, "no `hello` was completed in time")
            return None
        return self._check_silence(self._connection)

    def _check_silence(self, connection: Connection) -> float | None:
        interval_s = self._door.ping_interval_s
        if self._heard or (connection.paused and not self._blocked):
            self._heard = self._quiet = False
        elif not self._quiet:
            self._quiet = True
        elif self._blocked:
            self._door.context.metrics.closed_slow.inc()
            self._transport.abort()
            return None
        else:
            text = f"nothing came for {2 * interval_s:g} s; say `ping` every {interval_s:g} s"
            connection.close(CloseCode.IDLE, text)
            return None
        return interval_s

    # Coming in

    def _take_preface(self, preface: bytes) -> None:
        self._due = None
        if preface not in FORMS:
            self.write(answer_to(preface))
            self._start_closing()
            return
        self.form = FORMS[preface]
        self._early = self._early[PREFACE_BYTES:]
        self._door.leave_visitor(self)
        self._door.enter(self, self._host)
        why = self._door.refuses(self)
        if why is not None:
            self._turn_away(why)
            return
        self._transport.pause_reading()
        self._door.context.admission.enter(self._open)

    def _open(self) -> None:
        """Let the client in: its turn has come."""
        if self._transport.is_closing():
            return
        self._transport.resume_reading()
        why = self._door.refuses(self) if self._door.draining else None
        if why is not None:
            self._turn_away(why)
            return
        context = self._door.context
        self._frames = Splitter(bytes_max=context.limits.frame_bytes_max)
        self._connection = Connection(self, self.form.codec, context, self._vouched)
        context.metrics.accepted.inc()
        early, self._early = self._early, b""
        if early:
            self._take(self._frames, early)

    def _turn_away(self, why: TurnedAway) -> None:
        code = CloseCode.DRAINING if self._door.draining else CloseCode.OVERLOADED
        self.write(self.form.encode(Bye(code, why.text, why.retry_after_s * 1_000)))
        self._start_closing()

    # Frames, and the end of them

    def _take(self, frames: Splitter, data: bytes) -> None:
        connection = self._connection
        assert connection is not None, "frames come after the preface"
        for frame in frames.feed(data):
            if self._close_by is not None:
                return
            if not frame:
                self._is_clean = True
                self._leave()
                return
            if self.form.codec is JSON and not _is_utf8(frame):
                connection.offend("a frame in JSON must be UTF-8")
            else:
                connection.on_message(frame)
        if frames.over is not None and self._close_by is None:
            limit = self._door.context.limits.frame_bytes_max
            text = f"a frame may have {limit} bytes at most, and {frames.over} were announced"
            self._fail(
                ErrorCode.TOO_LARGE, f"{text}; send large things in parts", CloseCode.TOO_BIG
            )

    def _fail(self, code: ErrorCode, message: str, close_code: CloseCode) -> None:
        assert self._connection is not None
        self._connection.send(Error(code, message, fatal=True))
        self._connection.close(close_code, message)

    def _leave(self) -> None:
        """The client says no more: close once it has its answers."""
        self._is_leaving = True
        self._due = self._door.wheel.add(self, CLOSE_TIMEOUT_S)
        self._close_when_answered()

    def _close_when_answered(self) -> None:
        if self._connection is not None and self._connection.is_idle and not self._out:
            self._close_now()

    def _close_now(self) -> None:
        self._close_by = self._door.wheel.add(self, CLOSE_TIMEOUT_S)
        self._transport.close()

    @property
    def _is_overdue(self) -> bool:
        return self._due is not None and self._door.wheel.tick >= self._due

    def _start_closing(self) -> None:
        if self._connection is not None and self._connection.paused:
            self._transport.resume_reading()  # for the client's own end
        self._close_by = self._door.wheel.add(self, CLOSE_TIMEOUT_S)
        self.flush()
        if self._is_leaving:
            self._transport.close()
        else:
            self._end_writing()


def _is_utf8(frame: bytes) -> bool:
    try:
        frame.decode()
    except UnicodeDecodeError:
        return False
    return True
