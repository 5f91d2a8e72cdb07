"""The WebSocket transport (RFC 6455): an `asyncio.Protocol` around websockets' Sans-I/O protocol.

The HTTP server parses the request, sees the upgrade, and hands the connection over; no message passes
through ASGI. The handshake and everything a peer can do wrong is judged by the websockets library; what is
done here is to move bytes, and to know when the outbound buffer is full.

There is no task and no timer per connection: the wheel calls for pings and deadlines, the flusher for writes.
"""

import asyncio
from functools import partial
from http import HTTPStatus
from itertools import takewhile
from time import monotonic
from typing import Final

from msgspec import Struct
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN

from imserver.access import whole_frames
from imserver.access.buffered_link import CLOSE_TIMEOUT_S, LOST, BufferedLink
from imserver.access.connection import Connection
from imserver.access.deflate import DeflateForm, Inflate, deflate_form
from imserver.access.door import Door
from imserver.access.messages import Messages, NotUtf8, TooManyFragments
from imserver.access.paced_reading import TURN_S
from imserver.access.sign_of_life import Asked
from imserver.access.tolls import FRAMES_AT_ONCE
from imserver.access.websocket_frames import first_byte, in_one_frame
from imserver.protocol.codec import JSON, MSGPACK, Codec
from imserver.protocol.errors import ErrorCode
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import Error
from imserver.protocol.session_states import SessionState

PARSED_BYTES_AT_ONCE: Final = 4_096
SURPLUS_BYTES_MAX: Final = 64 * 1024
"""So much is parsed in search of the client's goodbye after ours; of more, nothing is read any more."""

_REASON_BYTES_MAX: Final = 120
_INVALID_DATA: Final = 1007
_NOT_UTF8: Final = Error(
    ErrorCode.BAD_FRAME, "text must be UTF-8; binary messages are for MessagePack", fatal=True
)


class WebSocketForm:
    """A codec in unmasked WebSocket messages of one frame."""

    __slots__ = ("_encode", "codec", "first_byte")

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._encode = codec.encode
        self.first_byte = first_byte(codec)

    def encode(self, frame: Struct) -> bytes:
        """Return the frame as one WebSocket message."""
        return in_one_frame(self.first_byte, self._encode(frame))


FORMS: Final = {codec.name: WebSocketForm(codec) for codec in (MSGPACK, JSON)}


class WebSocketLink(BufferedLink):
    """One WebSocket connection; a `Link` for its session shell."""

    __slots__ = ("_asked", "_heard", "_held", "_next_turn", "_pinged", "_surplus", "_websocket")

    form: WebSocketForm | DeflateForm

    def __init__(self, door: Door) -> None:
        super().__init__(door, FORMS[MSGPACK.name])
        self._websocket: Messages | None = None
        self._asked: Asked | None = None
        self._heard = True
        self._held = b""
        self._next_turn: asyncio.TimerHandle | None = None
        self._pinged = False
        self._surplus = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._door.enter(self, self._host)

    def on_request(self, request: Request) -> None:
        """Take in the opening handshake, which is answered when its turn has come."""
        door = self._door
        response = door.judge.answer(request, door.refuses(self))
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._refuse(response)
            return
        if door.judge.subprotocol is not None:
            self.form = FORMS[door.judge.subprotocol]
        window_bits = door.judge.window_bits
        if window_bits is not None:
            bytes_min = door.context.settings.deflate_bytes_min
            self.form = deflate_form(self.form.codec.name, window_bits, bytes_min)
        self._stop_reading()
        door.context.admission.enter(partial(self._open, response))

    def data_received(self, data: bytes) -> None:
        websocket = self._websocket
        if websocket is None or websocket.eof_sent:
            return
        self._heard = True
        if self._close_by is not None and self._has_said_enough(len(data)):
            return
        if self._held:
            self._held += data
        else:
            self._take(websocket, data)

    def _has_said_enough(self, size: int) -> bool:
        """Tell whether a client goes on and on after our goodbye: then the deadline for its own ends it."""
        self._surplus += size
        if self._surplus <= SURPLUS_BYTES_MAX:
            return False
        self._stop_reading()
        return True

    def _take(self, websocket: Messages, data: bytes) -> None:
        """Take in frames until this client's turn is over, and of compressed ones, which may hold a lot, no
        more than the session shell takes; the rest is held."""
        ends_s, at = monotonic() + TURN_S, 0
        while at < len(data) and not websocket.eof_sent:
            is_full = type(self.form) is DeflateForm and self._is_paused
            rest_s = self._connection.rest_s if at and self._connection is not None else 0.0
            if is_full or rest_s or (at and monotonic() > ends_s):
                self._held = data[at:]
                if not is_full:
                    self._stop_reading()
                    self._take_held_in(rest_s)
                return
            at = self._take_some(websocket, data, at)

    def _take_some(self, websocket: Messages, data: bytes, at: int) -> int:
        """Take in what comes next; return where the rest begins."""
        if websocket.is_between and websocket.state is OPEN:
            bytes_max = self._door.context.limits.frame_bytes_max
            messages, rest = whole_frames.take(
                data, self.form.first_byte, start=at, bytes_max=bytes_max, most=FRAMES_AT_ONCE
            )
            if messages:
                self._on_whole_frames(messages)
                return rest
        self._parse(websocket, data[at : at + PARSED_BYTES_AT_ONCE])
        return at + PARSED_BYTES_AT_ONCE

    def _take_held_in(self, after_s: float) -> None:
        if self._next_turn is None:
            self._next_turn = asyncio.get_running_loop().call_later(after_s, self._take_held)

    def _go_on_reading(self) -> None:
        if self._held:
            self._take_held_in(0)
        else:
            super()._go_on_reading()

    def _take_held(self) -> None:
        self._next_turn = None
        held, self._held = self._held, b""
        if held and self._websocket is not None and not self._websocket.eof_sent:
            self._take(self._websocket, held)
        if held and not (self._held or self._is_paused):
            self._go_on_reading()

    def _parse(self, websocket: Messages, data: bytes) -> None:
        websocket.receive_data(data)
        has_answered = bool(websocket.writes)
        if has_answered and websocket.state is OPEN:
            # Pongs: they do not wait for what the messages around their pings bring about.
            self._write_protocol_data(websocket.data_to_send())
        for event in websocket.events_received():
            if isinstance(event, Frame):
                self._on_frame(event)
        if websocket.others and self._connection is not None:
            self._connection.on_other_frames(websocket.others)
            websocket.others = 0
        if has_answered or websocket.parser_exc is not None:
            self._after_receiving(websocket)

    def connection_lost(self, exc: Exception | None) -> None:
        self._close_by = LOST
        self._held = b""
        self._door.leave(self)
        if self._connection is not None and self._websocket is not None:
            self._connection.on_lost(clean=_is_clean(self._websocket))

    # Link

    def close(self, code: int, reason: str) -> None:
        if self._close_by is not None:
            return
        if self._websocket is not None and self._websocket.state is OPEN:
            self._websocket.send_close(code, _clipped(reason))
            self._write_protocol_data(self._websocket.data_to_send())
        self._start_closing()

    # Deadlines

    def on_timer(self) -> float | None:
        """Ping, or give up on, a client that was silent; called by the wheel."""
        if self._close_by is not None:
            # A closing transport still waits for its client to take what is left.
            if self._close_by != LOST and self._door.wheel.tick >= self._close_by:
                self._transport.abort()
            return None
        if self._transport.is_closing():
            return None
        connection, interval_s = self._connection, self._door.ping_interval_s
        if connection is None:
            self._transport.abort()
            return None
        if connection.state in (SessionState.FRESH, SessionState.CHALLENGED):
            return self._on_hello_overdue(connection)
        if self._heard or (connection.paused and not self._blocked):
            if self._asked is not None:
                self._asked.is_answered |= self._heard
            self._heard = self._pinged = False
            return interval_s
        if self._pinged or self._websocket is None:
            if self._blocked:
                self._door.context.metrics.closed_slow.inc()
            self._transport.abort()
            return None
        self._pinged = True
        self._write_protocol_data(self._websocket.ping())
        return interval_s

    def sign_of_life(self) -> bool | None:
        tick, connection = self._door.wheel.tick, self._connection
        if self._websocket is None or connection is None or connection.paused:
            return None
        if self._asked is None or self._asked.is_stale(tick):
            self._asked, self._heard = Asked(tick), False
            self._write_protocol_data(self._websocket.ping())
        return self._asked.answer(tick, heard=self._heard)

    # Handshake and frames

    def _open(self, response: Response) -> None:
        """Let the client in: its turn has come."""
        if self._transport.is_closing():
            return
        self._go_on_reading()
        why = self._door.refuses(self) if self._door.draining else None
        if why is not None:
            self._refuse(self._door.judge.turn_away(why))
            return
        self.write(response.serialize())
        bytes_max = self._door.context.limits.frame_bytes_max
        inflate = Inflate(bytes_max=bytes_max) if type(self.form) is DeflateForm else None
        self._websocket = Messages(bytes_max=bytes_max, inflate=inflate)
        self._connection = Connection(self, self.form.codec, self._door.context, self._vouched)
        self._door.context.metrics.accepted.inc()

    def _refuse(self, response: Response) -> None:
        self.write(response.serialize())
        self._close_by = self._door.wheel.add(self, CLOSE_TIMEOUT_S)
        self.flush()
        self._end_writing()

    def _on_frame(self, frame: Frame) -> None:
        if self._connection is None or self._close_by is not None:
            return
        if frame.opcode is Opcode.BINARY or frame.opcode is Opcode.TEXT:
            if (frame.opcode is Opcode.BINARY) is self.form.codec.binary:
                self._connection.on_message(bytes(frame.data))
            else:
                self._connection.offend(_wrong_type(self.form.codec))

    def _on_whole_frames(self, messages: list[bytes]) -> None:
        assert self._connection is not None and self._websocket is not None, "it is open"
        if self._close_by is not None:
            return
        if self.form.codec.binary or all(map(_is_utf8, messages)):
            self._connection.on_messages(messages)
            return
        self._connection.on_messages(list(takewhile(_is_utf8, messages)))
        if self._close_by is None:
            self.write(self.form.encode(_NOT_UTF8))
            self._websocket.fail(_INVALID_DATA, _NOT_UTF8.message)
            self._write_protocol_data(self._websocket.data_to_send())
            self._start_closing()

    def _after_receiving(self, websocket: Messages) -> None:
        writes = websocket.data_to_send()
        if websocket.parser_exc is not None and self._close_by is None:
            error = _error_of(websocket.parser_exc, self._door.context.limits)
            if error is not None:
                self.write(self.form.encode(error))
        self._write_protocol_data(writes)
        if self._connection is not None:
            self._connection.pace()
        if websocket.close_expected() or websocket.parser_exc is not None:
            self._start_closing()

    def _write_protocol_data(self, writes: list[bytes]) -> None:
        for data in filter(None, writes):
            self.write(data)

    def _start_closing(self) -> None:
        if self._close_by is None:
            self._close_by, self._next_turn = self._door.wheel.add(self, CLOSE_TIMEOUT_S), None
            self._go_on_reading()  # for the client's own goodbye, whatever rest was left
        self.flush()
        if self._websocket is None or self._websocket.close_rcvd is not None:
            self._transport.close()
        elif self._websocket.eof_sent:
            self._end_writing()


def _error_of(problem: Exception, limits: Limits) -> Error | None:
    """Say in our own protocol what the goodbye says in a code, where there is something to say."""
    match problem:
        case PayloadTooBig():
            bytes_max = limits.frame_bytes_max
            text = f"a frame may have {bytes_max} bytes at most; send large things in parts"
            return Error(ErrorCode.TOO_LARGE, text, fatal=True)
        case TooManyFragments():
            return Error(ErrorCode.BAD_FRAME, str(problem), fatal=True)
        case NotUtf8():
            return _NOT_UTF8
    return None


def _is_clean(websocket: Messages) -> bool:
    """Tell whether it ended with a goodbye of the client's, or with one of ours that the client answered."""
    goodbye = websocket.close_rcvd
    if goodbye is None:
        return False
    return websocket.close_rcvd_then_sent is False or goodbye.code in (1000, 1001, 1005)


def _is_utf8(message: bytes | bytearray) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True


def _wrong_type(codec: Codec) -> str:
    wanted = "binary" if codec.binary else "text"
    return f"this connection speaks {codec.name}: frames travel in {wanted} messages"


def _clipped(reason: str) -> str:
    return reason.encode()[:_REASON_BYTES_MAX].decode(errors="ignore")
