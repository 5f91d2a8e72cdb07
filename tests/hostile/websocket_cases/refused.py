"""Groups 3 and 4: reserved bits and reserved opcodes, alone and behind a message that is answered."""

from collections.abc import Callable, Iterator
from typing import Final

from tests.hostile.raw_socket import BINARY, CLOSE, PING, frame
from tests.hostile.websocket_cases.case import BY_FRAME, MASK, Answer, Case, Talk, asks, fails
from tests.hostile.websocket_cases.speech import MSGPACK, Speech

Speaker = Callable[[Speech], Talk]
_PING: Final = frame(PING, mask=MASK)


def alone(opcode: int, payload: bytes = b"", *, rsv: int = 0) -> Speaker:
    """Return a talk of one frame that must not be."""
    return lambda _: fails([frame(opcode, payload, rsv=rsv, mask=MASK)])


def behind(opcode: int, payload: bytes = b"") -> Speaker:
    """Return a talk of a good message, a frame that must not be, and a ping."""
    bad = frame(opcode, payload, mask=MASK)
    return lambda speech: fails([asks(speech), bad, _PING], Answer(1))


def bits(rsv: int, *, chop: int = 0) -> Speaker:
    """Return a talk of a good message, one with reserved bits, and a ping."""
    return lambda speech: fails(
        [asks(speech), asks(speech, 2, rsv=rsv), _PING], Answer(1), chop=chop
    )


RESERVED_BITS: Final = (
    Case("3.1", "A message with RSV 1.", lambda speech: fails([asks(speech, rsv=1)])),
    Case("3.2", "A message, one with RSV 2, and a ping.", bits(2)),
    Case("3.3", "The same with RSV 3, frame by frame.", bits(3, chop=BY_FRAME)),
    Case("3.4", "The same with RSV 4, byte by byte.", bits(4, chop=1)),
    Case("3.5", "A binary message with RSV 5.", alone(BINARY, b"\xc0", rsv=5), (MSGPACK,)),
    Case("3.6", "A ping with RSV 6.", alone(PING, rsv=6)),
    Case("3.7", "A goodbye with RSV 7.", alone(CLOSE, b"\x03\xe8", rsv=7)),
)


def _opcodes() -> Iterator[Case]:
    for group, first, kind in ((1, 3, "data"), (2, 11, "control")):
        for number, opcode in enumerate(range(first, first + 5), 1):
            payload = b"" if number in (1, 3) else b"payload"
            carries = " with a payload" if payload else ""
            what = f"opcode {opcode}, reserved for {kind}"
            if number <= 2:
                yield Case(
                    f"4.{group}.{number}", f"A frame{carries} of {what}.", alone(opcode, payload)
                )
            else:
                says = f"A message, a frame{carries} of {what}, and a ping."
                yield Case(f"4.{group}.{number}", says, behind(opcode, payload))


CASES: Final = (*RESERVED_BITS, *_opcodes())
