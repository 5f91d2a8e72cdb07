"""Group 5: messages in fragments, with control frames in between, and fragments that belong to nothing."""

import itertools
from collections.abc import Callable
from typing import Final

from tests.hostile.raw_socket import CONT, PING, PONG, frame
from tests.hostile.websocket_cases.case import (
    BY_FRAME,
    MASK,
    Answer,
    Case,
    Echo,
    Event,
    Pong,
    Talk,
    asks,
    fails,
)
from tests.hostile.websocket_cases.speech import Speech

Speaker = Callable[[Speech], Talk]
_SIZE: Final = 100
_WHERE: Final = 40


def split(opcode: int) -> Speaker:
    """Return a talk of a control frame in two fragments."""
    parts = [frame(opcode, b"one", fin=False, mask=MASK), frame(CONT, b"two", mask=MASK)]
    return lambda _: fails(parts)


def two(*, chop: int = 0) -> Speaker:
    """Return a talk of a message in two fragments."""

    def talk(speech: Speech) -> Talk:
        message, body = speech.echo(_SIZE)
        return Talk(halves(speech.opcode, message), [Echo(body)], chop=chop)

    return talk


def pinged_within(*, chop: int = 0) -> Speaker:
    """Return a talk of a message in two fragments and a ping between them, which is answered first.

    The message is a request that is answered at once, so that an endpoint in the wrong order shows.
    """

    def talk(speech: Speech) -> Talk:
        first, last = halves(speech.opcode, speech.ask(1, _SIZE))
        says = [first, frame(PING, b"ping payload", mask=MASK), last]
        return Talk(says, [Pong(b"ping payload"), Answer(1)], chop=chop)

    return talk


def halves(opcode: int, message: bytes) -> list[bytes]:
    """Return a message in two fragments."""
    return [
        frame(opcode, message[:_WHERE], fin=False, mask=MASK),
        frame(CONT, message[_WHERE:], mask=MASK),
    ]


def lost(*, fin: bool, chop: int = 0) -> Speaker:
    """Return a talk of a fragment that continues nothing, and a message."""
    stray = frame(CONT, b"non-continuation payload", fin=fin, mask=MASK)
    return lambda speech: fails([stray, asks(speech)], chop=chop)


def lost_behind(speech: Speech) -> Talk:
    """Return a talk of a message in fragments, a fragment of nothing, and a message."""
    stray = frame(CONT, b"non-continuation payload", fin=False, mask=MASK)
    says = [*halves(speech.opcode, speech.ask(1, _SIZE)), stray, asks(speech, 2)]
    return fails(says, Answer(1))


def lost_twice(*, fin: bool) -> Speaker:
    """Return a talk of a fragment of nothing and a message in fragments, twice."""

    def talk(speech: Speech) -> Talk:
        stray = frame(CONT, b"fragment1", fin=fin, mask=MASK)
        return fails([stray, *halves(speech.opcode, speech.ask(1, _SIZE))] * 2)

    return talk


def begun_twice(speech: Speech) -> Talk:
    """Return a talk of two fragments that both begin a message."""
    message = speech.ask(1, _SIZE)
    first = frame(speech.opcode, message[:_WHERE], fin=False, mask=MASK)
    return fails([first, frame(speech.opcode, message[_WHERE:], mask=MASK)])


def five(*, chop: int = 0) -> Speaker:
    """Return a talk of a message in five fragments with two pings, the first of which is answered before the
    rest is sent."""

    def talk(speech: Speech) -> Talk:
        message = speech.ask(1, _SIZE)
        cuts = [0, 20, 40, 60, 80, _SIZE]
        parts = [
            frame(CONT if start else speech.opcode, message[start:end], fin=end == _SIZE, mask=MASK)
            for start, end in itertools.pairwise(cuts)
        ]
        one, other = b"pongme 1!", b"pongme 2!"
        says: list[bytes | Event] = [*parts[:2], frame(PING, one, mask=MASK), Pong(one)]
        says += [*parts[2:4], frame(PING, other, mask=MASK), parts[4]]
        return Talk(says, [Pong(one), Pong(other), Answer(1)], chop=chop)

    return talk


_STRAY: Final = "A fragment that continues nothing and"

CASES: Final = (
    Case("5.1", "A ping in two fragments.", split(PING)),
    Case("5.2", "A pong in two fragments.", split(PONG)),
    Case("5.3", "A message in two fragments.", two()),
    Case("5.4", "The same frame by frame.", two(chop=BY_FRAME)),
    Case("5.5", "The same byte by byte.", two(chop=1)),
    Case("5.6", "A message in two fragments, a ping between them.", pinged_within()),
    Case("5.7", "The same frame by frame.", pinged_within(chop=BY_FRAME)),
    Case("5.8", "The same byte by byte.", pinged_within(chop=1)),
    Case("5.9", f"{_STRAY} ends, then a message.", lost(fin=True)),
    Case("5.10", "The same frame by frame.", lost(fin=True, chop=BY_FRAME)),
    Case("5.11", "The same byte by byte.", lost(fin=True, chop=1)),
    Case("5.12", f"{_STRAY} does not end, then a message.", lost(fin=False)),
    Case("5.13", "The same frame by frame.", lost(fin=False, chop=BY_FRAME)),
    Case("5.14", "The same byte by byte.", lost(fin=False, chop=1)),
    Case("5.15", "A message in two fragments, a fragment of nothing, a message.", lost_behind),
    Case(
        "5.16",
        f"Twice: {_STRAY[0].lower()}{_STRAY[1:]} does not end, and a message in two.",
        lost_twice(fin=False),
    ),
    Case(
        "5.17",
        f"Twice: {_STRAY[0].lower()}{_STRAY[1:]} ends, and a message in two.",
        lost_twice(fin=True),
    ),
    Case("5.18", "Two fragments that both begin a message.", begun_twice),
    Case("5.19", "A message in five fragments with two pings in between.", five()),
    Case("5.20", "The same frame by frame.", five(chop=BY_FRAME)),
)
