"""Groups 1 and 10, whole messages of every form of length, and group 9, large and many ones."""

from collections.abc import Callable, Iterator
from typing import Final

from tests.hostile.raw_socket import CONT, frame
from tests.hostile.websocket_cases.case import (
    MASK,
    POLICY,
    TOO_BIG,
    Answer,
    Case,
    Echo,
    Event,
    Level,
    Refusal,
    Talk,
)
from tests.hostile.websocket_cases.speech import JSON, MSGPACK, Speech

FRAME_MAX: Final = 320 * 1024
KIB: Final = 1024
MIB: Final = 1024 * 1024
ROUNDS: Final = 1_000
_KINDS: Final = {JSON: "text", MSGPACK: "binary"}


def whole(size: int, *, chop: int = 0) -> Callable[[Speech], Talk]:
    """Return a talk of one message in one frame, which comes back if it is within the limit."""

    def talk(speech: Speech) -> Talk:
        if size == 0:
            return Talk([frame(speech.opcode, mask=MASK)], [Refusal("bad_frame")])
        message, body = speech.echo(size)
        return _judged(size, [frame(speech.opcode, message, mask=MASK)], Echo(body), chop=chop)

    return talk


def in_fragments(size: int, fragment: int) -> Callable[[Speech], Talk]:
    """Return a talk of one message in fragments of a size."""

    def talk(speech: Speech) -> Talk:
        message, body = speech.echo(size)
        return _judged(size, cut(speech.opcode, message, fragment), Echo(body))

    return talk


def cut(opcode: int, message: bytes, size: int) -> list[bytes]:
    """Return a message as fragments."""
    starts = range(0, len(message), size)
    return [
        frame(
            CONT if start else opcode,
            message[start : start + size],
            fin=start == starts[-1],
            mask=MASK,
        )
        for start in starts
    ]


def _judged(size: int, says: list[bytes], echo: Echo, *, chop: int = 0) -> Talk:
    if size <= FRAME_MAX:
        return Talk(says, [echo], chop=chop)
    return Talk(says, [Refusal("too_large")], frozenset({TOO_BIG}), chop)


def rounds(size: int) -> Callable[[Speech], Talk]:
    """Return a talk of many messages, each of which is answered before the next is sent."""

    def talk(speech: Speech) -> Talk:
        if size == 0:
            nothing = frame(speech.opcode, mask=MASK)
            refusals = [Refusal("bad_frame")] * 3
            return Talk([nothing] * ROUNDS, refusals, frozenset({POLICY}))
        says: list[bytes | Event] = []
        for number in range(ROUNDS):
            message = speech.ask(1_000 + number, size)
            says += [frame(speech.opcode, message, mask=MASK), Answer(1_000 + number)]
        return Talk(says, [Answer(1_000 + number) for number in range(ROUNDS)])

    return talk


def _sizes_of_frames() -> Iterator[Case]:
    for group, codec in ((1, JSON), (2, MSGPACK)):
        kind = _KINDS[codec]
        for number, size in enumerate((0, 125, 126, 127, 128, 65_535, 65_536), 1):
            says = f"A {kind} message of {size:,} bytes."
            yield Case(f"1.{group}.{number}", says, whole(size), (codec,))
        says = f"A {kind} message of 65,536 bytes, 997 at a time."
        yield Case(f"1.{group}.8", says, whole(65_536, chop=997), (codec,))


def _large() -> Iterator[Case]:
    sizes = (64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB)
    fragments = (64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB)
    for group, codec in ((1, JSON), (2, MSGPACK)):
        kind = _KINDS[codec]
        for number, size in enumerate(sizes, 1):
            says = f"A {kind} message of {size // KIB:,} KiB."
            yield Case(f"9.{group}.{number}", says, whole(size), (codec,))
        for number, size in enumerate(fragments, 1):
            says = f"A {kind} message of 4 MiB in fragments of {size:,} bytes."
            yield Case(f"9.{group + 2}.{number}", says, in_fragments(4 * MIB, size), (codec,))
        for number, chop in enumerate((64, 128, 256, 512, 1024, 2048), 1):
            says = f"A {kind} message of 1 MiB, {chop:,} bytes at a time."
            yield Case(f"9.{group + 4}.{number}", says, whole(MIB, chop=chop), (codec,))
        for number, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):
            says = f"1,000 {kind} messages of {size:,} bytes, each after the last one's answer."
            level = Level.MANDATORY if size else Level.INFORMATIONAL
            yield Case(f"9.{group + 6}.{number}", says, rounds(size), (codec,), level)


CASES: Final = (
    *_sizes_of_frames(),
    *_large(),
    Case(
        "10.1.1",
        "A text message of 65,536 bytes in fragments of 1,300.",
        in_fragments(65_536, 1_300),
        (JSON,),
    ),
)
