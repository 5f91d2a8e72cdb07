"""Group L, which is ours: sizes from nothing to the limit in pieces of any size, and one byte too many.

What is over the limit is refused, never cut off: nothing of it is delivered, and the close code is 1009.
"""

from collections.abc import Callable, Iterator
from typing import Final

from tests.hostile.raw_socket import CONT, frame
from tests.hostile.websocket_cases.case import MASK, TOO_BIG, Answer, Case, Echo, Refusal, Talk
from tests.hostile.websocket_cases.framing import FRAME_MAX, cut
from tests.hostile.websocket_cases.speech import Speech

CHOPS: Final = (1, 2, 3, 7, 13, 64, 100, 125, 126, 127, 997, 1_000)
SIZES: Final = (80, 124, 125, 126, 127, 128, 1_000, 4_096, 65_534, 65_535, 65_536, 65_537, 200_000)
PIECES_MAX: Final = 5_000


def of_the_limit(fragment: int = FRAME_MAX, *, chop: int = 0) -> Callable[[Speech], Talk]:
    """Return a talk of a request that is just as large as may be."""
    return lambda speech: Talk(
        cut(speech.opcode, speech.ask(7, FRAME_MAX), fragment), [Answer(7)], chop=chop
    )


def too_large(fragment: int = FRAME_MAX + 1, *, chop: int = 0) -> Callable[[Speech], Talk]:
    """Return a talk of a request of one byte more."""
    return lambda speech: Talk(
        cut(speech.opcode, speech.ask(7, FRAME_MAX + 1), fragment),
        [Refusal("too_large")],
        frozenset({TOO_BIG}),
        chop,
    )


def said_to_be_too_large(speech: Speech) -> Talk:
    """Return a talk of a frame whose length alone is too much."""
    header = frame(speech.opcode, length=FRAME_MAX + 1, mask=MASK)
    return Talk([header], [Refusal("too_large")], frozenset({TOO_BIG}))


def last_drop(speech: Speech) -> Talk:
    """Return a talk of a message as large as may be, and a last fragment of one byte."""
    message = speech.ask(7, FRAME_MAX + 1)
    says = [
        frame(speech.opcode, message[:-1], fin=False, mask=MASK),
        frame(CONT, message[-1:], mask=MASK),
    ]
    return Talk(says, [Refusal("too_large")], frozenset({TOO_BIG}))


def echoed(size: int, chop: int) -> Callable[[Speech], Talk]:
    """Return a talk of a message of a size, sent in pieces of another."""

    def talk(speech: Speech) -> Talk:
        message, body = speech.echo(size)
        return Talk([frame(speech.opcode, message, mask=MASK)], [Echo(body)], chop=chop)

    return talk


def _sweep() -> Iterator[Case]:
    """Yield a case for each size, with the chops in turn, and one for each chop."""
    pairs = [(size, CHOPS[number % len(CHOPS)]) for number, size in enumerate(SIZES)]
    pairs += [(SIZES[number * 5 % len(SIZES)], chop) for number, chop in enumerate(CHOPS)]
    for number, (size, chop) in enumerate(pairs, 1):
        step = max(chop, size // PIECES_MAX)
        says = f"A message of {size:,} bytes, {step:,} at a time."
        yield Case(f"L.3.{number}", says, echoed(size, step))


CASES: Final = (
    Case("L.1.1", f"A frame of {FRAME_MAX:,} bytes, the limit.", of_the_limit()),
    Case("L.1.2", "A frame of the limit, 1,000 bytes at a time.", of_the_limit(chop=1_000)),
    Case("L.1.3", "A message of the limit in two fragments.", of_the_limit(FRAME_MAX - 1)),
    Case("L.1.4", "A message of the limit in fragments of 64 bytes.", of_the_limit(64)),
    Case("L.2.1", "A frame of one byte more than the limit.", too_large()),
    Case("L.2.2", "The same, 1,000 bytes at a time.", too_large(chop=1_000)),
    Case("L.2.3", "The same in two fragments, of which only the second is too much.", last_drop),
    Case("L.2.4", "The same in fragments of 1,000 bytes.", too_large(1_000)),
    Case("L.2.5", "The header alone of a frame of one byte too many.", said_to_be_too_large),
    *_sweep(),
)
