"""The raw TCP transport: frames behind their lengths, for controllers that have no WebSocket.

The story. Whoever connects is a stranger until its preface is in, counts as a visitor until then, and has
until the hello deadline. With the preface it becomes a link like any other: it waits for its turn to come
in, and its session shell is the same as a WebSocket's. The lengths that it announces are judged before
anything is kept for them. Every close by the server is told by a `bye`, since TCP has no close codes.

TCP has no pings either. The kernel's keepalive finds hosts that are gone (`tcp_listener`); a client that says
nothing for two ping intervals is taken for stuck, so one that has nothing to say says `ping` now and then.
"""

import asyncio
import functools
from time import monotonic

from msgspec import Struct

from imserver.access.buffered_link import CLOSE_TIMEOUT_S, LOST, BufferedLink
from imserver.access.connection import Connection
from imserver.access.door import NEVER, Door
from imserver.access.handshake import TurnedAway
from imserver.access.paced_reading import TURN_S
from imserver.access.strangers import answer_to
from imserver.access.tolls import FRAMES_AT_ONCE
from imserver.protocol.codec import BY_SUBPROTOCOL, JSON, MSGPACK, Codec
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.length_prefix import (
    PREFACE_BYTES,
    PREFACES,
    Splitter,
    framed,
    framed_deflated,
)
from imserver.protocol.server_frames import Bye, Error
from imserver.protocol.session_states import SessionState


class TcpForm:
    """A codec in frames behind their lengths; from ``bytes_min`` on they are compressed, if it is set."""

    __slots__ = ("_bytes_min", "_encode", "codec")

    def __init__(self, codec: Codec, bytes_min: int | None) -> None:
        self.codec = codec
        self._encode = codec.encode
        self._bytes_min = bytes_min

    def encode(self, frame: Struct) -> bytes:
        """Return the frame behind its length."""
        payload = self._encode(frame)
        if self._bytes_min is None:
            return framed(payload)
        return framed_deflated(payload, bytes_min=self._bytes_min)


@functools.cache
def tcp_form(subprotocol: str, bytes_min: int | None) -> TcpForm:
    """Return the one form for all connections that want their frames alike."""
    return TcpForm(BY_SUBPROTOCOL[subprotocol], bytes_min)


class TcpLink(BufferedLink):
    """One connection to the raw TCP port; a `Link` for its session shell once the preface is in."""

    __slots__ = (
        "_frames",
        "_has_ended",
        "_heard",
        "_is_clean",
        "_is_held",
        "_is_leaving",
        "_preface",
        "_quiet",
        "look_at",
    )

    form: TcpForm

    def __init__(self, door: Door) -> None:
        super().__init__(door, tcp_form(MSGPACK.name, None))
        self._preface = b""
        self._frames: Splitter | None = None
        self._has_ended = False
        self._heard = True
        self._quiet = False
        self._is_leaving = False
        self._is_clean = False
        self._is_held = False
        self.look_at = NEVER

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._door.enter_visitor(self, self._host):
            self._transport.close()
            return
        self.look_at = self._door.wheel.due(self._door.hello_timeout_s)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._close_by is not None or self._is_leaving:
            return
        if self._frames is not None:
            self._frames.put(data)
            self._take()
        elif not self._transport.is_closing():
            self._preface += data
            if len(self._preface) >= PREFACE_BYTES:
                self._take_preface(self._preface[:PREFACE_BYTES], self._preface[PREFACE_BYTES:])

    def eof_received(self) -> bool:
        """Take in that the client says no more; its answers still go out, where the transport allows it."""
        if self._connection is None or self._close_by is not None:
            return False
        self._has_ended = True
        self._take()
        return not self._transport.is_closing() and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        is_clean = self._is_clean or (exc is None and self._is_answered)
        self._close_by = LOST
        self._door.leave_visitor(self)
        self._door.leave(self)
        if self._connection is not None:
            self._connection.on_lost(clean=is_clean)

    # Link

    def close(self, code: int, reason: str) -> None:
        if self._close_by is not None:
            return
        if self._connection is None or not self._connection.has_said_bye:
            self.write(self.form.encode(Bye(code, reason)))
        self._start_closing()

    def resume_reading(self) -> None:
        if self._has_ended or (self._frames is not None and not self._frames.is_between):
            self._take_soon()
        else:
            super().resume_reading()

    def flush(self) -> None:
        super().flush()
        if self._is_leaving and self._close_by is None:
            self._close_when_answered()

    # Deadlines

    def check_deadline(self) -> None:
        """Give up on a stranger whose preface is overdue."""
        if self._door.draining or self._door.wheel.tick >= self.look_at:
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
            if self._door.wheel.tick >= self.look_at:
                self._close_now()
            return None
        if self._connection is None:
            self._transport.abort()
            return None
        if self._connection.state in (SessionState.FRESH, SessionState.CHALLENGED):
            return self._on_hello_overdue(self._connection)
        return self._check_silence(self._connection)

    def sign_of_life(self) -> bool | None:
        return None  # the protocol has no way to ask

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

    def _take_preface(self, preface: bytes, rest: bytes) -> None:
        self.look_at = NEVER
        self._preface = b""
        if preface not in PREFACES:
            self.write(answer_to(preface))
            self._start_closing()
            return
        codec, deflates = PREFACES[preface]
        context = self._door.context
        compresses = deflates and context.settings.deflate
        bytes_min = context.settings.deflate_bytes_min if compresses else None
        self.form = tcp_form(codec.name, bytes_min)
        bytes_max = context.limits.frame_bytes_max
        self._frames = Splitter(bytes_max=bytes_max, deflates=deflates)
        self._frames.put(rest)
        self._door.leave_visitor(self)
        self._door.enter(self, self._host)
        why = self._door.refuses(self)
        if why is not None:
            self._turn_away(why)
            return
        self._stop_reading()
        self._door.context.admission.enter(self._open)

    def _open(self) -> None:
        """Let the client in: its turn has come."""
        if self._transport.is_closing():
            return
        self._go_on_reading()
        why = self._door.refuses(self) if self._door.draining else None
        if why is not None:
            self._turn_away(why)
            return
        self._connection = Connection(self, self.form.codec, self._door.context, self._vouched)
        self._door.context.metrics.accepted.inc()
        self._take()

    def _turn_away(self, why: TurnedAway) -> None:
        code = CloseCode.DRAINING if self._door.draining else CloseCode.OVERLOADED
        self.write(self.form.encode(Bye(code, why.text, why.retry_after_s * 1_000)))
        self._start_closing()

    # Frames, and the end of them

    def _take(self) -> None:
        """Handle what has come, as far as the session shell takes more now and this client's turn lasts."""
        connection, frames = self._connection, self._frames
        if connection is None or frames is None:
            return
        ends_s, taken = monotonic() + TURN_S, 0
        while not connection.paused and self._close_by is None and not self._is_leaving:
            frame = frames.next()
            if frame is None:
                self._take_end(connection, frames)
                return
            self._take_frame(connection, frame)
            taken += 1
            if taken % FRAMES_AT_ONCE == 0 and monotonic() > ends_s:
                self._stop_reading()
                self._take_soon()
                return

    def _take_soon(self) -> None:
        """Go on with what is here already, before more is read: else it would pile up."""
        if not self._is_held:
            self._is_held = True
            asyncio.get_running_loop().call_soon(self._take_on)

    def _take_on(self) -> None:
        self._is_held = False
        self._take()
        if not (self._is_held or self._is_paused):
            self._go_on_reading()

    def _take_frame(self, connection: Connection, frame: bytes) -> None:
        if not frame:
            self._is_clean = True
            self._leave()
        elif self.form.codec is JSON and not _is_utf8(frame):
            connection.offend("a frame in JSON must be UTF-8")
        else:
            connection.on_message(frame)

    def _take_end(self, connection: Connection, frames: Splitter) -> None:
        if frames.unreadable is not None:
            _fail(connection, *frames.unreadable)
        elif self._has_ended and not frames.is_between:
            text = "the connection ended within a frame: it was shorter than its length said"
            _fail(connection, ErrorCode.BAD_FRAME, text)
        elif self._has_ended:
            self._leave()

    def _leave(self) -> None:
        """The client says no more: close once it has its answers."""
        self._is_leaving = True
        self.look_at = self._door.wheel.add(self, CLOSE_TIMEOUT_S)
        self._close_when_answered()

    def _close_when_answered(self) -> None:
        if self._connection is not None and self._connection.is_idle and not self._out:
            self._close_now()

    def _close_now(self) -> None:
        self._close_by = self._door.wheel.add(self, CLOSE_TIMEOUT_S)
        self._transport.close()

    def _start_closing(self) -> None:
        if self._connection is not None and self._connection.paused:
            self._go_on_reading()  # for the client's own end
        self._close_by = self._door.wheel.add(self, CLOSE_TIMEOUT_S)
        self.flush()
        if self._is_leaving:
            self._transport.close()
        else:
            self._end_writing()


def _fail(connection: Connection, code: ErrorCode, message: str) -> None:
    is_large = code is ErrorCode.TOO_LARGE
    connection.send(Error(code, message, fatal=True))
    connection.close(CloseCode.TOO_BIG if is_large else CloseCode.PROTOCOL_ERROR, message)


def _is_utf8(frame: bytes) -> bool:
    try:
        frame.decode()
    except UnicodeDecodeError:
        return False
    return True
