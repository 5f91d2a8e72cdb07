"""Inputs that are one message, or several, in a codec: how they are made and changed."""

import random
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from imserver.protocol.codec import JSON, MSGPACK, Codec
from tests.fuzz.given import Input
from tests.fuzz.mutations import mutated
from tests.fuzz.shapes import Shape, of_struct
from tests.fuzz.writing import to_json, to_msgpack

CODECS: Final[dict[str, Codec]] = {"msgpack": MSGPACK, "json": JSON}


def written(value: Any, codec: str, dice: random.Random) -> bytes:
    """Return a value in a codec."""
    return to_json(value, dice) if codec == "json" else to_msgpack(value, dice)


class FrameMaker:
    """Makes messages of declared kinds."""

    def __init__(self, kinds: Sequence[type[Struct]], *, wrong_in: int) -> None:
        self._shapes: list[Shape] = [of_struct(kind, wrong_in=wrong_in) for kind in kinds]

    def message(self, codec: str, dice: random.Random) -> bytes:
        """Return a message in a codec."""
        return written(dice.choice(self._shapes)(dice), codec, dice)


def mutate_pieces(given: Input, other: Input, dice: random.Random) -> Input:
    """Return an input with its messages dropped, doubled, swapped, borrowed, or one of them changed."""
    pieces = list(given.pieces)
    if not pieces:
        return Input(given.variant, other.pieces)
    at = dice.randrange(len(pieces))
    match dice.randrange(8):
        case 0 if len(pieces) > 1:
            del pieces[at]
        case 1:
            pieces.insert(at, dice.choice(pieces))
        case 2:
            pieces[at], pieces[-1] = pieces[-1], pieces[at]
        case 3 if other.pieces:
            pieces.insert(at, dice.choice(other.pieces))
        case _:
            lender = dice.choice(other.pieces) if other.pieces else b""
            pieces[at] = mutated(pieces[at], lender, dice)
    return Input(given.variant, tuple(pieces[:PIECES_MAX]))


PIECES_MAX: Final = 24
