"""The decoders of frames, both ways and in both codecs: a frame comes of a message, or a documented refusal.

What is taken is written again and read again, and must be the same. A refusal must fit into an `error`.
"""

import random
from typing import Any, Final, get_args

from msgspec import Struct

from imserver.protocol.client_frames import ClientFrame
from imserver.protocol.codec import InvalidFrame
from imserver.protocol.errors import ErrorCode
from imserver.protocol.server_frames import Deliver, Error, Ok, ServerFrame, SignalValue
from tests.fuzz.given import Breach, Input, Outcome
from tests.fuzz.mutations import mutated
from tests.fuzz.targets.messages import CODECS, FrameMaker

REFUSAL_CHARS_MAX: Final = 1_000
_WITH_BODIES: Final = (Deliver, Ok, SignalValue)


class _Frames:
    """What both directions have in common."""

    def __init__(self, kinds: tuple[type[Struct], ...]) -> None:
        self._maker = FrameMaker(kinds, wrong_in=20)

    def make(self, dice: random.Random) -> Input:
        codec = "json" if dice.random() < 0.5 else "msgpack"
        return Input(codec, (self._maker.message(codec, dice),))

    def mutate(self, given: Input, other: Input, dice: random.Random) -> Input:
        lender = other.pieces[0] if other.pieces else b""
        return Input(given.variant, (mutated(given.pieces[0], lender, dice),))

    def close(self) -> None:
        """Hold nothing."""


class ClientFrames(_Frames):
    """What clients send."""

    name = "frames"
    share = 45

    def __init__(self) -> None:
        super().__init__(get_args(ClientFrame))

    def check(self, given: Input) -> Outcome:
        codec, message = CODECS[given.variant], b"".join(given.pieces)
        try:
            frame = codec.decode_client(message)
        except InvalidFrame as refusal:
            return _judge_refusal(refusal)
        again = codec.decode_client(codec.encode(frame))
        if again != frame:
            raise Breach(f"{frame!r} was read again as {again!r}")
        return type(frame).__name__


class ServerFrames(_Frames):
    """What servers send."""

    name = "server_frames"
    share = 15

    def __init__(self) -> None:
        super().__init__(get_args(ServerFrame))

    def check(self, given: Input) -> Outcome:
        codec, message = CODECS[given.variant], b"".join(given.pieces)
        try:
            frame = codec.decode_server(message)
        except InvalidFrame as refusal:
            return _judge_refusal(refusal)
        if given.variant == "msgpack" or not isinstance(frame, _WITH_BODIES):
            # A server in JSON encodes bodies that are stored as MessagePack: nobody writes what was read.
            wire = codec.encode(frame)
            again = codec.decode_server(wire)
            if codec.encode(again) != wire:  # NaN in a result is not itself
                raise Breach(f"{frame!r} was read again as {again!r}")
        return type(frame).__name__


def _judge_refusal(refusal: InvalidFrame) -> Outcome:
    text = str(refusal)
    if not 10 <= len(text) <= REFUSAL_CHARS_MAX:
        raise Breach(f"a refusal of {len(text)} characters: {text!r}")
    error: Any = Error(ErrorCode.BAD_FRAME, text, fatal=False, id=refusal.request_id)
    for codec in CODECS.values():
        if codec.decode_server(codec.encode(error)) != error:
            raise Breach(f"the refusal does not survive {codec.name}: {text!r}")
    return _without_details(text)


def _without_details(text: str) -> Outcome:
    """Return a refusal without what it quotes, so that equal ones look equal."""
    return "".join(letter for letter in text.partition("`$")[0][:24] if not letter.isdigit())
