"""The WebSocket path: bytes as they come off a socket, cut anywhere, against the plain library.

The real link reads the same stream in the pieces given, in one piece, and at times byte by byte. What it
hands on, answers and closes with must be what the websockets package, fed with the whole stream, says it
is: see `reading`.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, cast, get_args

from websockets.frames import Opcode

from imserver.access.messages import Messages
from imserver.access.websocket import FORMS, WebSocketLink
from imserver.protocol.client_frames import ClientFrame
from imserver.protocol.limits import Limits
from imserver.protocol.session_states import SessionState
from tests.fuzz.given import Breach, Input, Outcome
from tests.fuzz.mutations import mutated
from tests.fuzz.targets.messages import CODECS, FrameMaker
from tests.fuzz.targets.reading import Reading, reading_of

BYTES_MAX: Final = 1_000
BYTE_BY_BYTE_IN: Final = 8
_MASKS: Final = (b"\x00\x00\x00\x00", b"\x82\x82\x82\x82", b"\x81\x85\xff\x00", b"\x88\x80\x89\x80")
_CODES: Final = (1000, 1001, 1009, 3000, 4999, 0, 999, 1004, 1005, 1006, 1015, 1016, 5000, 65535)
_TEXTS: Final = (
    b"",
    b"a",
    "☃".encode(),
    b"\xe2\x98",
    b"\x83",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xf4\x90",
    b"{}",
)
_KINDS: Final = (0x0, 0x1, 0x2, 0x8, 0x9, 0xA)


class Frame(NamedTuple):
    """A frame to write: nothing of it need be right."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    mask: bytes | None = _MASKS[0]
    width: int = 0
    says: int | None = None

    def written(self) -> bytes:
        """Return its bytes."""
        size = len(self.payload) if self.says is None else self.says
        bit = 0 if self.mask is None else 0x80
        first = (0x80 if self.fin else 0) | self.rsv << 4 | self.opcode
        if self.width == 0 and size < 126:
            header = bytes((first, bit | size))
        elif self.width <= 2 and size < 65_536:
            header = bytes((first, bit | 126)) + size.to_bytes(2)
        else:
            header = bytes((first, bit | 127)) + size.to_bytes(8)
        if self.mask is None:
            return header + self.payload
        covered = bytes(byte ^ self.mask[n & 3] for n, byte in enumerate(self.payload))
        return header + self.mask + covered


class Streams:
    """What comes off the socket of a WebSocket."""

    name = "streams"
    share = 15

    def __init__(self) -> None:
        self._maker = FrameMaker(get_args(ClientFrame), wrong_in=0)
        self._checked = 0

    def make(self, dice: random.Random) -> Input:
        codec = dice.choice(("msgpack", "json"))
        frames: list[Frame] = []
        while not frames or dice.random() < 0.75:
            frames += self._frames(codec, dice)
        stream = b"".join(frame.written() for frame in frames)
        return Input(codec, cut(stream, dice))

    def _frames(self, codec: str, dice: random.Random) -> list[Frame]:
        opcode = 1 if codec == "json" else 2
        mask = dice.choice(_MASKS)
        match dice.randrange(10):
            case 0 | 1 | 2:
                return [Frame(opcode, self._maker.message(codec, dice)[:BYTES_MAX], mask=mask)]
            case 3 | 4:
                return _fragments(opcode, self._maker.message(codec, dice), dice)
            case 5:
                return [
                    Frame(dice.choice((9, 10)), dice.randbytes(dice.choice((0, 4, 125))), mask=mask)
                ]
            case 6:
                return [_goodbye(dice)] if dice.random() < 0.3 else [Frame(9, b"", mask=mask)]
            case 7:
                return _fragments(1, b"".join(dice.choices(_TEXTS, k=4)), dice)
            case 8:
                size = dice.choice((125, 126, BYTES_MAX - 1, BYTES_MAX, BYTES_MAX + 1, 2_000))
                return [Frame(opcode, b"x" * size, mask=mask)]
        return [_odd(dice)] if dice.random() < 0.4 else _many_empty(dice)

    def mutate(self, given: Input, other: Input, dice: random.Random) -> Input:
        stream, lender = b"".join(given.pieces), b"".join(other.pieces)
        if dice.random() < 0.8:
            stream = mutated(stream, lender, dice)
        return Input(given.variant, cut(stream, dice))

    def check(self, given: Input) -> Outcome:
        stream = b"".join(given.pieces)
        expected = reading_of(stream, binary=CODECS[given.variant].binary, bytes_max=BYTES_MAX)
        ways = [given.pieces, (stream,)] if len(given.pieces) > 1 else [given.pieces]
        self._checked += 1
        if self._checked % BYTE_BY_BYTE_IN == 0:
            ways.append(tuple(stream[at : at + 1] for at in range(len(stream))))
        for pieces in ways:
            found = observed(given.variant, pieces)
            if found != expected:
                raise Breach(f"in {len(pieces)} pieces: {found}, but the stream says {expected}")
        return f"{expected.close} {min(len(expected.messages), 3)} {min(expected.offences, 2)}"

    def close(self) -> None:
        """Hold nothing."""


def cut(stream: bytes, dice: random.Random) -> tuple[bytes, ...]:
    """Return a stream in pieces."""
    count = dice.choice((0, 0, 1, 1, 2, 3, 6))
    cuts = sorted({dice.randrange(len(stream) + 1) for _ in range(count)})
    return tuple(
        stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b
    )


def _fragments(opcode: int, message: bytes, dice: random.Random) -> list[Frame]:
    cuts = sorted({dice.randrange(len(message) + 1) for _ in range(dice.randrange(1, 5))})
    found: list[Frame] = []
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(message)], strict=True)):
        kind = 0 if number else opcode
        found.append(
            Frame(kind, message[start:end], fin=end == len(message), mask=dice.choice(_MASKS))
        )
        if dice.random() < 0.2:
            found.append(Frame(9, b"within", mask=dice.choice(_MASKS)))
    return found


def _goodbye(dice: random.Random) -> Frame:
    if dice.random() < 0.2:
        return Frame(
            8, dice.choice((b"", b"\x03", b"\x03\xe8" + b"r" * dice.choice((122, 123, 124))))
        )
    return Frame(8, dice.choice(_CODES).to_bytes(2) + dice.choice(_TEXTS))


def _odd(dice: random.Random) -> Frame:
    """Return a frame that breaks a rule, or comes near to it."""
    return Frame(
        opcode=dice.choice((*_KINDS, 3, 7, 11, 15)),
        payload=dice.randbytes(dice.choice((0, 1, 5, 126))),
        fin=dice.random() < 0.7,
        rsv=dice.choice((0, 0, 0, 1, 2, 4)),
        mask=dice.choice((*_MASKS, None)),
        width=dice.choice((0, 2, 8)),
        says=dice.choice((None, None, None, 2**16, 2**32, 2**63 - 1, 2**63, 2**64 - 1)),
    )


def _many_empty(dice: random.Random) -> list[Frame]:
    """Return a message of empty fragments, now and then of more than there may be."""
    count = dice.choice((1, 2, 5, 1_023, 1_025)) if dice.random() < 0.02 else dice.randrange(4)
    first = Frame(dice.choice((1, 2)), b"", fin=False)
    return [first, *[Frame(0, b"", fin=False)] * count, Frame(0, b"", fin=dice.random() < 0.8)]


class Shell:
    """Stands where the session's shell stands, and keeps what the link hands on."""

    paused = False
    rest_s = 0.0
    state = SessionState.OPEN

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.offences = 0
        self.lost = 0

    def on_message(self, message: bytes) -> None:
        """Take in a message."""
        self.messages.append(bytes(message))

    def on_messages(self, messages: Sequence[bytes]) -> None:
        """Take in messages that came at once."""
        self.messages.extend(map(bytes, messages))

    def on_other_frames(self, count: int) -> None:
        """Take in that frames came that are no messages."""

    def offend(self, _message: str) -> None:
        """Take in that a message is of the wrong type."""
        self.offences += 1

    def pace(self) -> None:
        """Read on."""

    def on_drained(self) -> None:
        """Have nothing to write."""

    def on_lost(self, *, clean: bool) -> None:
        """Take in the end."""
        self.lost += 1


class Loop:
    """Stands where the event loop stands, for what is put off to its next turn."""

    def __init__(self) -> None:
        self._due: deque[Callable[[], object]] = deque()

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Note what is to be called."""
        self._due.append(callback)

    def call_later(self, _after_s: float, callback: Callable[[], object]) -> None:
        """Note what is to be called; time passes at once."""
        self._due.append(callback)

    def turn(self) -> None:
        """Call it, until nothing more is put off."""
        while self._due:
            self._due.popleft()()


class Pipe(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_over = False

    def write(self, data: Any) -> None:
        if self.is_over:
            raise Breach("something is written after the end")
        self.written.append(bytes(data))

    def write_eof(self) -> None:
        if self.is_over:
            raise Breach("the end is written twice")
        self.is_over = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.is_over = True

    def is_closing(self) -> bool:
        return self.is_over

    def pause_reading(self) -> None:
        """Wait for what is read already to be taken in."""

    def resume_reading(self) -> None:
        """Go on."""


_DOOR: Final[Any] = SimpleNamespace(
    context=SimpleNamespace(limits=Limits(frame_bytes_max=BYTES_MAX, body_bytes_max=BYTES_MAX - 1)),
    flusher=SimpleNamespace(add=lambda _link: None),
    wheel=SimpleNamespace(add=lambda _link, _after_s: 5, tick=0),
    leave=lambda _link: None,
    write_buffer_bytes_max=2**30,
)


def observed(codec: str, pieces: tuple[bytes, ...]) -> Reading:
    """Return what a link makes of a stream that comes in pieces."""
    link, shell, pipe = WebSocketLink(_DOOR), Shell(), Pipe()
    link._transport = pipe
    link._websocket = Messages(bytes_max=BYTES_MAX)
    link._connection = shell  # type: ignore[assignment]
    link.form = FORMS[CODECS[codec].name]
    loop = Loop()
    asyncio._set_running_loop(cast(Any, loop))
    try:
        for piece in pieces:
            link.data_received(piece)
            loop.turn()
    finally:
        asyncio._set_running_loop(None)
    link.flush()
    pongs, close = _answers(b"".join(pipe.written))
    if (close is not None) is not pipe.is_over:
        raise Breach(
            f"closed with {close}, and the transport is {'over' if pipe.is_over else 'open'}"
        )
    link.connection_lost(None)
    if shell.lost != 1:
        raise Breach(f"the shell was told {shell.lost} times that the connection is lost")
    return Reading(tuple(shell.messages), shell.offences, tuple(pongs), close)


def _answers(written: bytes) -> tuple[list[bytes], int | None]:
    """Return the pongs and the code of the goodbye in what a link wrote."""
    pongs: list[bytes] = []
    while written:
        opcode, size, start = written[0] & 15, written[1], 2
        if size == 126:
            size, start = int.from_bytes(written[2:4]), 4
        payload, written = written[start : start + size], written[start + size :]
        if opcode == Opcode.PONG:
            pongs.append(payload)
        elif opcode == Opcode.CLOSE:
            if written:
                raise Breach(f"after the goodbye comes {written!r}")
            return pongs, int.from_bytes(payload[:2]) if payload else 1005
    return pongs, None
