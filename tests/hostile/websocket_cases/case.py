"""What a case is: what is said to the endpoint, and what it has to do then."""

import enum
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from tests.hostile.raw_socket import BINARY, TEXT, frame
from tests.hostile.websocket_cases.speech import JSON, MSGPACK, Speech

BOTH: Final = (JSON, MSGPACK)
BY_FRAME: Final = -1
NORMAL, PROTOCOL_ERROR, INVALID_DATA, POLICY, TOO_BIG = 1000, 1002, 1007, 1008, 1009
NO_CODE: Final = 1005


class Level(enum.StrEnum):
    """How binding the suite takes a case to be."""

    MANDATORY = "mandatory"
    NON_STRICT = "non-strict"
    INFORMATIONAL = "informational"


class Answer(NamedTuple):
    """The endpoint answers a request."""

    number: int


class Echo(NamedTuple):
    """The endpoint delivers the body of a message as it was sent."""

    body: str | bytes


class Pong(NamedTuple):
    """The endpoint answers a ping of RFC 6455."""

    payload: bytes


class Refusal(NamedTuple):
    """The endpoint sends an `error`."""

    code: str


Event: TypeAlias = Answer | Echo | Pong | Refusal


class Talk(NamedTuple):
    """One conversation with the endpoint.

    Attributes:
        says: frames to send, and events to wait for in between.
        expects: every event that comes of it, in order.
        ends_with: codes, one of which the endpoint closes with; none if the test says goodbye in the end.
        chop: bytes sent at a time; 0 for all that is said in one piece, `BY_FRAME` for a piece each frame.
    """

    says: Sequence[bytes | Event]
    expects: Sequence[Event] = ()
    ends_with: frozenset[int] = frozenset()
    chop: int = 0


class Case(NamedTuple):
    """A case.

    Attributes:
        number: of the suite.
        says: a sentence on what is sent.
        talk: what is said in a codec.
        codecs: the codecs in which it can be said.
    """

    number: str
    says: str
    talk: Callable[[Speech], Talk]
    codecs: Sequence[str] = BOTH
    level: Level = Level.MANDATORY

    @property
    def does(self) -> str:
        """A sentence on what the endpoint has to do."""
        talk = self.talk(Speech(self.codecs[0], "g/x"))
        said = [_said(event) for event in talk.expects]
        if len(said) > 2 and len({type(event) for event in talk.expects}) == 1:
            said = [f"{len(said):,} times: {_said(talk.expects[0])}"]
        if talk.ends_with:
            codes = " or ".join(
                "no code" if code == NO_CODE else str(code) for code in sorted(talk.ends_with)
            )
            said.append(f"closes with {codes}")
        elif not said:
            said.append("says nothing, and goes on")
        return ", then ".join(said)


def _said(event: Event) -> str:
    match event:
        case Answer():
            return "answers"
        case Echo():
            return "delivers it whole"
        case Pong(payload):
            return f"pongs with {len(payload)} bytes" if payload else "pongs"
        case Refusal(code):
            return f"tells `{code}`"


def fails(says: Sequence[bytes | Event], *before: Event, chop: int = 0) -> Talk:
    """Return a talk that breaks RFC 6455: what came before is answered, and nothing after it."""
    return Talk(says, before, frozenset({PROTOCOL_ERROR}), chop)


def other_opcode(speech: Speech) -> int:
    """Return the opcode of data that is not the codec's."""
    return TEXT if speech.opcode == BINARY else BINARY


def asks(speech: Speech, number: int = 1, *, rsv: int = 0, opcode: int | None = None) -> bytes:
    """Return a request, small enough for any frame, as a frame."""
    kind = speech.opcode if opcode is None else opcode
    return frame(kind, speech.ask(number), rsv=rsv, mask=MASK)


MASK: Final = b"\xa5\x0f\x82\x81"
"""A mask of which two bytes look like the beginning of a frame."""
