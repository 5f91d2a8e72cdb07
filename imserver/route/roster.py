"""Which other nodes there are, read tolerantly: who is missing for a moment is still counted.

What hangs on it is who should do what (`core.rendezvous`), so it should not change without need: a Redis
that forgot everything, and is told again within a second, moves nothing. Whoever asks a node that is gone
notices by itself, so nobody is in haste. Looks that did not come about, since Redis did not answer, change
nothing either.
"""

from collections.abc import Iterable
from typing import Final

GRACE_S: Final = 3.0


class Roster:
    """The other nodes.

    Attributes:
        others: their names.
    """

    def __init__(self, *, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._missed_s: dict[str, float] = {}
        self.others: frozenset[str] = frozenset()

    def look(self, present: Iterable[str], now_s: float) -> None:
        """Take in who is present at the time ``now_s`` (monotonic seconds); times only rise."""
        seen = frozenset(present)
        missed = {name: self._missed_s.get(name, now_s) for name in self.others - seen}
        self._missed_s = {
            name: since_s for name, since_s in missed.items() if now_s - since_s < self._grace_s
        }
        others = seen | self._missed_s.keys()
        if others != self.others:  # else the very same object, which tells that nothing has changed
            self.others = others
