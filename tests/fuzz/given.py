"""What a target is given, and what targets are."""

import random
from typing import NamedTuple, Protocol, TypeAlias

Outcome: TypeAlias = str
"""What became of an input, in a word: inputs of a new outcome are kept to be mutated."""


class Input(NamedTuple):
    """An input.

    Attributes:
        variant: how it is to be read: a codec, a state.
        pieces: the bytes, one message or one read of a socket each.
    """

    variant: str
    pieces: tuple[bytes, ...]


class Breach(AssertionError):
    """An input had an effect that none may have; the text says which."""


class Target(Protocol):
    """Something that reads inputs."""

    name: str
    share: int
    """Of all inputs, how many of a hundred."""

    def make(self, dice: random.Random) -> Input:
        """Return a new input, as the declarations have it, or nearly so."""

    def mutate(self, given: Input, other: Input, dice: random.Random) -> Input:
        """Return an input changed a little; ``other`` may lend a part."""

    def check(self, given: Input) -> Outcome:
        """Read an input.

        Raises:
            Breach: it had an effect that none may have. Any other exception is a breach as well.
        """

    def close(self) -> None:
        """Let go of everything."""
