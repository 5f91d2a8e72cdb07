"""Scopes: what a bearer token lets its holder do, of all that its robot may.

A scope is a word and what it is about: ``read:g/dock``, ``send:d/r1/r2``, ``manage:*``; or ``*``, all that
the robot may do; or ``admin``, an owner's hand in every group, and the deployment's affairs. Scopes only take
away: what the robot itself may not do, no scope allows. What is not named is not there: a conversation that
no scope covers looks as if it did not exist. No I/O.
"""

import enum
from collections.abc import Iterable
from typing import Final

from imserver.protocol import names

WHOLE: Final = "*"
ADMIN: Final = "admin"
EVERYWHERE: Final = "*"
SCOPES_MAX: Final = 64


class Verb(enum.StrEnum):
    """What a scope lets its holder do with a conversation."""

    READ = "read"
    SEND = "send"
    MANAGE = "manage"


RULE: Final = (
    "`*` (all that the robot may do), `admin`, or one of `read`, `send` and `manage` with a conversation "
    "behind it, such as read:g/dock, send:d/r1/r2 or read:*"
)

_NOTHING: Final[frozenset[Verb]] = frozenset()


class Scopes:
    """The scopes of one token, taken apart.

    Attributes:
        texts: as they were written, each once.
        admin: the holder acts as an owner of every group, and sees to the deployment.
    """

    __slots__ = ("_by_conv", "_everywhere", "_whole", "admin", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        """Take scopes apart.

        Raises:
            ValueError: there are none, too many, or one of them is not what a scope can be.
        """
        self.texts: Final = tuple(dict.fromkeys(texts))
        if not 1 <= len(self.texts) <= SCOPES_MAX:
            raise ValueError(f"a token has 1 to {SCOPES_MAX} scopes, each {RULE}")
        self.admin: Final = ADMIN in self.texts
        self._whole = self.admin or WHOLE in self.texts
        by_conv: dict[str, set[Verb]] = {}
        for text in self.texts:
            if text not in (WHOLE, ADMIN):
                verb, about = _parts(text)
                by_conv.setdefault(about, set()).add(verb)
        self._everywhere: Final = frozenset(by_conv.pop(EVERYWHERE, ()))
        self._by_conv: Final = {
            conv: frozenset(verbs) | self._everywhere for conv, verbs in by_conv.items()
        }

    @property
    def narrow(self) -> "Scopes | None":
        """These scopes if they take anything away, or None: then there is nothing to ask."""
        return None if self._whole else self

    def verbs(self, conv: str) -> frozenset[Verb]:
        """Return what the holder may do with a conversation; nothing: it must not know of it."""
        return self._by_conv.get(conv, self._everywhere)

    def covers(self, conv: str) -> bool:
        """Tell whether any scope is about a conversation."""
        return bool(self.verbs(conv))

    def reads(self, conv: str) -> bool:
        """Tell whether the holder may read a conversation."""
        return Verb.READ in self.verbs(conv)

    def somewhere(self, verb: Verb) -> bool:
        """Tell whether the holder may do something with at least one conversation."""
        return self.everywhere(verb) or any(verb in verbs for verbs in self._by_conv.values())

    def everywhere(self, verb: Verb) -> bool:
        """Tell whether the holder may do something with any conversation of its robot."""
        return verb in self._everywhere


ALL: Final = Scopes((WHOLE,))
"""What a robot has that proved its key."""


def _parts(text: str) -> tuple[Verb, str]:
    word, _, about = text.partition(":")
    try:
        verb = Verb(word)
        if about != EVERYWHERE:
            names.conversation(about)
    except ValueError:  # a name that breaks its rule is one, too
        raise ValueError(f"{names.clip(text)!r} is no scope; it must be {RULE}") from None
    return verb, about
