"""What becomes of a sealed event: opened, and by whom it was sealed; or not, and why."""

import enum

from msgspec import Struct


class Seal(Struct, frozen=True):
    """An event came sealed and was opened: its sender, place of order and content are its sender's own word.

    Attributes:
        device: device of the sender that sealed it.
        generation: which of the device's sender keys it was; a later one has a greater number.
        index: its number under that key, from 0.
    """

    device: str
    generation: int
    index: int


class Why(enum.StrEnum):
    """Why an event of a sealed conversation was not opened."""

    PLAIN = "plain"
    """It is not sealed, and the conversation is: anybody at the server can have written it."""
    MALFORMED = "malformed"
    """It is not of the form that this SDK knows."""
    NO_KEY = "no_key"
    """This device was not given the key: it came later, or its sender did not know or trust it."""
    FORGED = "forged"
    """Its signature is wrong: altered, from another conversation, or not by this sender."""
    OTHER_IDENTITY = "other_identity"
    """It is signed by another identity key than the one that is known of this robot."""
    MISPLACED = "misplaced"
    """It stands in front of something that its sender had seen before, or behind what it sent later."""
    REPLAYED = "replayed"
    """It was opened before, at another place."""
    STALE = "stale"
    """Its key was superseded long ago, or a later one was known before."""
    USED = "used"
    """It was opened before, and its key was not kept."""
    NOT_A_MEMBER = "not_a_member"
    """Its sender was removed before."""


class Unopened(Struct, frozen=True):
    """Stands for the body of an event that was not opened; nothing that it says is to be believed.

    Attributes:
        why: what programs switch on.
        message: the same for people.
    """

    why: Why
    message: str


class CannotOpen(Exception):
    """An event cannot be opened; never leaves this package."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.unopened = Unopened(why, message)
