"""Group 2, pings and pongs, and group 7, goodbyes."""

import struct
from collections.abc import Callable, Iterator
from typing import Final

from tests.hostile.raw_socket import CLOSE, CONT, PING, PONG, frame
from tests.hostile.websocket_cases.case import (
    INVALID_DATA,
    MASK,
    NO_CODE,
    NORMAL,
    PROTOCOL_ERROR,
    Answer,
    Case,
    Event,
    Level,
    Pong,
    Talk,
    asks,
    fails,
)
from tests.hostile.websocket_cases.speech import Speech

Speaker = Callable[[Speech], Talk]
_BYTES: Final = bytes((0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF))
_VALID: Final = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
_INVALID: Final = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
_UNDEFINED: Final = (5000, 65535)


def ping(payload: bytes = b"") -> bytes:
    """Return a ping."""
    return frame(PING, payload, mask=MASK)


def pong(payload: bytes = b"") -> bytes:
    """Return a pong."""
    return frame(PONG, payload, mask=MASK)


def close(code: int | None = NORMAL, reason: bytes = b"") -> bytes:
    """Return a goodbye."""
    payload = b"" if code is None else struct.pack("!H", code) + reason
    return frame(CLOSE, payload, mask=MASK)


def pinged(*payloads: bytes, chop: int = 0) -> Speaker:
    """Return a talk of pings, each of which is answered."""
    return lambda _: Talk(
        [ping(each) for each in payloads], [Pong(each) for each in payloads], chop=chop
    )


def silent(*says: bytes) -> Speaker:
    """Return a talk of which nothing comes."""
    return lambda _: Talk(says)


def goodbye(*says: bytes, ends_with: int = NORMAL) -> Speaker:
    """Return a talk that ends itself."""
    return lambda _: Talk(says, (), frozenset({ends_with}))


TEN: Final = tuple(b"payload %d" % number for number in range(10))

PINGS: Final = (
    Case("2.1", "A ping without a payload.", pinged(b"")),
    Case("2.2", "A ping with a small text.", pinged(b"Hello, world!")),
    Case("2.3", "A ping with bytes that are no text.", pinged(_BYTES)),
    Case("2.4", "A ping with 125 bytes.", pinged(b"\xfe" * 125)),
    Case("2.5", "A ping with 126 bytes.", lambda _: fails([ping(b"\xfe" * 126)])),
    Case("2.6", "A ping with 125 bytes, byte by byte.", pinged(b"\xfe" * 125, chop=1)),
    Case("2.7", "A pong that nobody asked for, without a payload.", silent(pong())),
    Case("2.8", "A pong that nobody asked for, with a payload.", silent(pong(b"unsolicited"))),
    Case(
        "2.9",
        "A pong that nobody asked for, then a ping.",
        lambda _: Talk([pong(b"unsolicited"), ping(b"ping")], [Pong(b"ping")]),
    ),
    Case("2.10", "Ten pings, each with a payload.", pinged(*TEN), level=Level.INFORMATIONAL),
    Case("2.11", "The same byte by byte.", pinged(*TEN, chop=1), level=Level.INFORMATIONAL),
)


def request_then_goodbye(speech: Speech) -> Talk:
    """Return a talk of a request and a goodbye."""
    return Talk([asks(speech), close()], [Answer(1)], frozenset({NORMAL}))


def goodbye_then_request(speech: Speech) -> Talk:
    """Return a talk of a goodbye and a request, which is not answered any more."""
    return Talk([close(), asks(speech)], (), frozenset({NORMAL}))


def goodbye_within(speech: Speech) -> Talk:
    """Return a talk of half a message, a goodbye, and the other half."""
    message = speech.ask(1)
    first = frame(speech.opcode, message[:5], fin=False, mask=MASK)
    rest = frame(CONT, message[5:], mask=MASK)
    return Talk([first, close(), rest], (), frozenset({NORMAL}))


def large_then_goodbye(speech: Speech) -> Talk:
    """Return a talk of a large request, a goodbye and a ping, all in one piece."""
    message = frame(speech.opcode, speech.ask(1, 256 * 1024), mask=MASK)
    expects: list[Event] = [Answer(1)]
    return Talk([message, close(), ping(b"late")], expects, frozenset({NORMAL}))


ORDER: Final = (
    Case("7.1.1", "A message, then a goodbye.", request_then_goodbye),
    Case("7.1.2", "Two goodbyes.", goodbye(close(), close())),
    Case("7.1.3", "A ping after a goodbye.", goodbye(close(), ping(b"late"))),
    Case("7.1.4", "A message after a goodbye.", goodbye_then_request),
    Case("7.1.5", "A goodbye within a message in fragments.", goodbye_within),
    Case(
        "7.1.6",
        "A message of 256 KiB, a goodbye and a ping.",
        large_then_goodbye,
        level=Level.INFORMATIONAL,
    ),
)

PAYLOADS: Final = (
    Case("7.3.1", "A goodbye without a code.", goodbye(close(None), ends_with=NO_CODE)),
    Case(
        "7.3.2",
        "A goodbye with a payload of one byte.",
        goodbye(frame(CLOSE, b"a", mask=MASK), ends_with=PROTOCOL_ERROR),
    ),
    Case("7.3.3", "A goodbye with a code.", goodbye(close())),
    Case("7.3.4", "A goodbye with a code and a reason.", goodbye(close(reason=b"Hello, world!"))),
    Case("7.3.5", "A goodbye with a reason of 123 bytes.", goodbye(close(reason=b"*" * 123))),
    Case(
        "7.3.6",
        "A goodbye with a reason of 124 bytes.",
        goodbye(close(reason=b"*" * 124), ends_with=PROTOCOL_ERROR),
    ),
    Case(
        "7.5.1",
        "A goodbye with a reason that is no UTF-8.",
        goodbye(close(reason=b"\xce\xba\xed\xa0\x80edited"), ends_with=INVALID_DATA),
    ),
)


def _codes() -> Iterator[Case]:
    for number, code in enumerate(_VALID, 1):
        yield Case(f"7.7.{number}", f"A goodbye with {code}.", goodbye(close(code), ends_with=code))
    for number, code in enumerate(_INVALID, 1):
        talk = goodbye(close(code), ends_with=PROTOCOL_ERROR)
        yield Case(f"7.9.{number}", f"A goodbye with {code}, which is no code to send.", talk)
    for number, code in enumerate(_UNDEFINED, 1):
        talk = goodbye(close(code), ends_with=PROTOCOL_ERROR)
        says = f"A goodbye with {code}, which is not defined."
        yield Case(f"7.13.{number}", says, talk, level=Level.INFORMATIONAL)


CASES: Final = (*PINGS, *ORDER, *PAYLOADS, *_codes())
