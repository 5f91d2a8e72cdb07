"""Group 6: text that is UTF-8 and text that is not, whole, in fragments and byte by byte.

The sequences from 6.5 on are those of Markus Kuhn's UTF-8 decoder capability and stress test
(https://www.cl.cam.ac.uk/~mgk25/ucs/examples/UTF-8-test.txt), in the order in which the suite uses them.
"""

from collections.abc import Callable, Iterator
from typing import Final

from tests.hostile.raw_socket import CONT, PING, TEXT, frame
from tests.hostile.websocket_cases.case import (
    INVALID_DATA,
    MASK,
    Case,
    Echo,
    Event,
    Level,
    Pong,
    Refusal,
    Talk,
)
from tests.hostile.websocket_cases.framing import cut
from tests.hostile.websocket_cases.speech import JSON, Speech

Speaker = Callable[[Speech], Talk]
GREEK: Final = "κ\u1f79σμε".encode()
LATIN: Final = "Hello-µ@ßöäüàá-UTF-8!!".encode()
SURROGATE: Final = b"\xed\xa0\x80edited"
BEYOND: Final = b"\xf4\x90\x80\x80"

_LONELY: Final = ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
_CUT: Final = "c0 e080 f08080 f8808080 fc80808080 df efbf f7bfbf fbbfbfbf fdbfbfbfbf"


def _hex(*texts: bytes) -> str:
    return " ".join(text.hex() for text in texts)


SECTIONS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "some text",
        "valid",
        _hex(*(f"hello{letter}world".encode() for letter in "$¢€𤭢"), GREEK),
    ),
    ("a text that breaks off", "mixed", _hex(*(GREEK[:end] for end in range(1, 12)))),
    ("the first character of a length", "valid", "00 c280 e0a080 f0908080"),
    ("the first of a length beyond four", "invalid", "f888808080 fc8480808080"),
    ("the last character of a length", "valid", "7f dfbf efbfbf f48fbfbf"),
    ("the last of a length beyond Unicode", "invalid", "f7bfbfbf fbbfbfbfbf fdbfbfbfbfbf"),
    ("a boundary", "mixed", "ed9fbf ee8080 efbfbd f48fbfbf f4908080"),
    (
        "continuations of nothing",
        "invalid",
        _hex(
            b"\x80",
            b"\xbf",
            *((b"\x80\xbf" * 3)[:n] for n in range(2, 7)),
            bytes(range(0x80, 0xBF)),
        ),
    ),
    (
        "beginnings of nothing",
        "invalid",
        _hex(*(b"".join(bytes((n, 0x20)) for n in range(*ends)) for ends in _LONELY)),
    ),
    ("a character without its last byte", "invalid", _CUT),
    ("ten such in a row", "invalid", _CUT.replace(" ", "")),
    ("impossible bytes", "invalid", "fe ff fefeffff"),
    ("an overlong /", "invalid", "c0af e080af f08080af f8808080af fc80808080af"),
    ("the last overlong one", "invalid", "c1bf e09fbf f08fbfbf f887bfbfbf fc83bfbfbfbf"),
    ("an overlong NUL", "invalid", "c080 e08080 f0808080 f880808080 fc8080808080"),
    ("a surrogate", "invalid", "eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf"),
    (
        "a pair of surrogates",
        "invalid",
        " ".join(
            high + low
            for high in ("eda080", "edadbf", "edae80", "edafbf")
            for low in ("edb080", "edbfbf")
        ),
    ),
    (
        "what is no character, but UTF-8",
        "valid",
        _hex(
            *(chr(plane << 16 | last).encode() for plane in range(17) for last in (0xFFFE, 0xFFFF))
        ),
    ),
    (
        "a special character",
        "valid",
        _hex(*(chr(code).encode() for code in range(0xFFF9, 0x10000))),
    ),
)
_INVALID_ONES: Final = frozenset(
    [*(GREEK[:end].hex() for end in (1, 3, 4, 6, 8, 10)), BEYOND.hex()]
)
"""Those of the mixed sections."""


def empty(*sizes: int) -> Speaker:
    """Return a talk of a message without a payload, in fragments of none."""
    parts = [
        frame(CONT if number else TEXT, fin=number == len(sizes) - 1, mask=MASK)
        for number in range(len(sizes))
    ]
    return lambda _: Talk(parts, [Refusal("bad_frame")])


def between_empty_ones(speech: Speech) -> Talk:
    """Return a talk of a message in three fragments, of which only the middle one carries something."""
    message, body = speech.echo(100)
    first, last = frame(TEXT, fin=False, mask=MASK), frame(CONT, mask=MASK)
    return Talk([first, frame(CONT, message, fin=False, mask=MASK), last], [Echo(body)])


def quoted(text: bytes, *cuts: int) -> Speaker:
    """Return a talk of a message that holds a text, in fragments that end where the text is cut."""

    def talk(speech: Speech) -> Talk:
        message = speech.quote(text)
        start = message.index(text) if text else 0
        ends = [*(start + where for where in cuts), len(message)]
        return Talk(_at(message, ends), [Echo(text.decode())])

    return talk


def letter_by_letter(text: bytes) -> Speaker:
    """Return a talk of a message that holds a text, in fragments of one byte."""
    return lambda speech: Talk(cut(TEXT, speech.quote(text), 1), [Echo(text.decode())])


def broken(text: bytes) -> Speaker:
    """Return a talk of a message that is no UTF-8."""
    return lambda speech: _failed([frame(TEXT, speech.quote(text), mask=MASK)])


def broken_byte_by_byte(text: bytes) -> Speaker:
    """Return a talk of a message that is no UTF-8, in fragments of one byte."""
    return lambda speech: _failed(cut(TEXT, speech.quote(text), 1))


def broken_early(first: bytes, middle: bytes) -> Speaker:
    """Return a talk of a message that has not ended yet when it can become UTF-8 no more.

    That its first fragment was taken shows by the answer to a ping.
    """
    says: list[bytes | Event] = [frame(TEXT, first, fin=False, mask=MASK), _PING, Pong(b"")]
    says.append(frame(CONT, middle, fin=False, mask=MASK))
    return lambda _: _failed(says, Pong(b""))


def _failed(says: list[bytes] | list[bytes | Event], *before: Event, chop: int = 0) -> Talk:
    expects = [*before, Refusal("bad_frame")]
    return Talk(says, expects, frozenset({INVALID_DATA}), chop)


def _at(message: bytes, ends: list[int]) -> list[bytes]:
    starts = [0, *ends[:-1]]
    return [
        frame(CONT if start else TEXT, message[start:end], fin=end == len(message), mask=MASK)
        for start, end in zip(starts, ends, strict=True)
    ]


def one_frame(chop: int) -> Speaker:
    """Return a talk of a message in one frame that is no UTF-8, in pieces."""
    return lambda speech: _failed([frame(TEXT, speech.quote(GREEK + BEYOND), mask=MASK)], chop=chop)


_PING: Final = frame(PING, mask=MASK)
_GOOD: Final = (
    Case("6.1.1", "A text of no bytes.", empty(0), (JSON,)),
    Case("6.1.2", "A text of three fragments of no bytes.", empty(0, 0, 0), (JSON,)),
    Case("6.1.3", "A text between two fragments of no bytes.", between_empty_ones, (JSON,)),
    Case("6.2.1", "A text that is UTF-8.", quoted(LATIN), (JSON,)),
    Case("6.2.2", "The same in two fragments, cut between letters.", quoted(LATIN, 15), (JSON,)),
    Case("6.2.3", "The same in fragments of one byte.", letter_by_letter(LATIN), (JSON,)),
    Case("6.2.4", "Greek in fragments of one byte.", letter_by_letter(GREEK), (JSON,)),
)
_BAD: Final = (
    Case("6.3.1", "A text with a surrogate.", broken(GREEK + SURROGATE), (JSON,)),
    Case(
        "6.3.2",
        "The same in fragments of one byte.",
        broken_byte_by_byte(GREEK + SURROGATE),
        (JSON,),
    ),
    Case(
        "6.4.1",
        "A text of which the second fragment is beyond Unicode, and no third one.",
        broken_early(GREEK, BEYOND),
        (JSON,),
    ),
    Case(
        "6.4.2",
        "The same, up to the byte that settles it.",
        broken_early(GREEK + BEYOND[:1], BEYOND[1:2]),
        (JSON,),
    ),
    Case(
        "6.4.3",
        "A text beyond Unicode in one frame, in two pieces.",
        one_frame(40),
        (JSON,),
        Level.NON_STRICT,
    ),
    Case("6.4.4", "The same byte by byte.", one_frame(1), (JSON,), Level.NON_STRICT),
)


def _sequences() -> Iterator[Case]:
    for section, (what, kind, sequences) in enumerate(SECTIONS, 5):
        for number, sequence in enumerate(sequences.split(), 1):
            is_valid = kind == "valid" or (kind == "mixed" and sequence not in _INVALID_ONES)
            says = f"Text with {what}: `{sequence}`."
            yield Case(f"6.{section}.{number}", says, _with(sequence, is_valid=is_valid), (JSON,))


def _with(sequence: str, *, is_valid: bool) -> Speaker:
    text = bytes.fromhex(sequence)
    if not is_valid:
        return broken(text)
    if text == b"\x00":  # UTF-8, and so the connection goes on, but no JSON
        return lambda speech: Talk(
            [frame(TEXT, speech.quote(text), mask=MASK)], [Refusal("bad_frame")]
        )
    return quoted(text)


CASES: Final = (*_GOOD, *_BAD, *_sequences())
