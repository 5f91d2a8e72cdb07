"""What a stream of WebSocket frames says, by the plain websockets package and a few lines of our own.

Shares no code with the transport it judges: the library is fed with the whole stream at once, and of its
frames messages are made here in another way.
"""

import logging
from typing import Final, NamedTuple

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

EMPTY_FRAGMENTS_MAX: Final = 1_024
_quiet: Final = logging.getLogger("tests.fuzz.reading")
_quiet.setLevel(logging.CRITICAL)


class Reading(NamedTuple):
    """What a stream says.

    Attributes:
        messages: whole messages of the codec's type, in order.
        offences: whole messages of the other type.
        pongs: payloads of the pongs that answer its pings.
        close: code with which the connection is closed, None if it stays open.
    """

    messages: tuple[bytes, ...]
    offences: int
    pongs: tuple[bytes, ...]
    close: int | None


def reading_of(stream: bytes, *, binary: bool, bytes_max: int) -> Reading:
    """Return what a stream says to an endpoint that wants binary messages, or text."""
    protocol = Protocol(Side.SERVER, state=OPEN, max_size=bytes_max, logger=_quiet)
    protocol.receive_data(stream)
    reader = _Reader(binary=binary)
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        reader.take(event)
        if reader.close is not None:
            break
    if reader.close is None:
        reader.close = _code_of(protocol)
    return Reading(tuple(reader.messages), reader.offences, tuple(reader.pongs), reader.close)


def _code_of(protocol: Protocol) -> int | None:
    match protocol.parser_exc:
        case None:
            return None
        case ProtocolError() if protocol.close_rcvd is not None:
            return protocol.close_rcvd.code  # a goodbye within a message, which RFC 6455 allows
        case ProtocolError():
            return 1002
        case PayloadTooBig():
            return 1009
        case UnicodeDecodeError():
            return 1007
    raise AssertionError(f"the library itself failed: {protocol.parser_exc!r}")


class _Reader:
    """Makes messages of frames."""

    def __init__(self, *, binary: bool) -> None:
        self._wanted = Opcode.BINARY if binary else Opcode.TEXT
        self._parts: list[bytes] = []
        self._kind = Opcode.CONT
        self.messages: list[bytes] = []
        self.pongs: list[bytes] = []
        self.offences = 0
        self.close: int | None = None

    def take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PING:
            self.pongs.append(bytes(frame.data))
        elif frame.opcode is Opcode.CLOSE:
            self.close = int.from_bytes(frame.data[:2]) if frame.data else 1005
        elif frame.opcode is not Opcode.PONG:
            self._take_data(frame)

    def _take_data(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._kind, self._parts = frame.opcode, []
        self._parts.append(bytes(frame.data))
        message = b"".join(self._parts)
        if self._kind is Opcode.TEXT and not _can_be_text(message, is_whole=frame.fin):
            self.close = 1007
        elif self._parts[: -1 if frame.fin else None].count(b"") > EMPTY_FRAGMENTS_MAX:
            self.close = 1008
        elif frame.fin and self._kind is self._wanted:
            self.messages.append(message)
        elif frame.fin:
            self.offences += 1


def _can_be_text(message: bytes, *, is_whole: bool) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError as problem:
        if is_whole:
            return False
        rest = message[problem.start :]
        # Python's incremental decoder takes a surrogate for one only when its third byte has come.
        is_half_a_surrogate = len(rest) == 2 and rest[0] == 0xED and 0xA0 <= rest[1] <= 0xBF
        return problem.reason == "unexpected end of data" or is_half_a_surrogate
    return True
