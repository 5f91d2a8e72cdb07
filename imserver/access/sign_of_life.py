"""Whether a client that looks online is there: it was asked, and has so many seconds to say anything."""

from typing import Final

ANSWER_TICKS: Final = 3
"""In so many seconds a client that is there answers a ping, wherever it is."""

STALE_TICKS: Final = 15


class Asked:
    """A question to one client, asked at a tick of the wheel (a second each).

    Attributes:
        is_answered: something was heard since.
    """

    __slots__ = ("_tick", "is_answered")

    def __init__(self, tick: int) -> None:
        self._tick = tick
        self.is_answered = False

    def is_stale(self, tick: int) -> bool:
        """Tell whether it says nothing about now any more."""
        return tick - self._tick > STALE_TICKS

    def answer(self, tick: int, *, heard: bool) -> bool | None:
        """Return whether the client is there; None while it may still answer."""
        if heard or self.is_answered:
            return True
        return False if tick - self._tick >= ANSWER_TICKS else None
