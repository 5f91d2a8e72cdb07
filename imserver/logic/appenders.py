"""Who should append to a conversation, as this node sees it.

Where only one node writes to a conversation, or hardly ever two at once, each appends what it was sent:
there is no quicker way into the log. Where nodes keep taking places from each other, each loss costs a
second insert and two reads, so for a while one of them is preferred, the same for all, and the others bring
it what they are sent (`forwarding`). That is a matter of cost alone. Nodes may disagree on it, be wrong or
out of date, and each may append whatever it likes: which event gets which place is decided by the store's
unique index.

Decides only; waits for nothing and asks nobody.
"""

from collections.abc import Callable
from typing import Final

from imserver.core.clock import Clock
from imserver.core.rendezvous import preferred
from imserver.core.route_settings import Forward
from imserver.protocol.names import ConversationName

CONTENDED_S: Final = 10.0
"""So long one loss of a place counts. Then it is tried again without help: a retry in that time is cheap."""

CONVERSATIONS_MAX: Final = 10_000
AVOIDED_S: Final = 2.0
AVOIDED_S_MAX: Final = 30.0


class _Trouble:
    """A node that did not answer: until when it is avoided, and for how long that is."""

    __slots__ = ("lasts_s", "until_s")

    def __init__(self, lasts_s: float, until_s: float) -> None:
        self.lasts_s = lasts_s
        self.until_s = until_s


class Appenders:
    """Tells where to append.

    Args:
        node: this node's name.
        neighbours: returns the names of the other nodes; the same object as long as they are the same.
        sees: tells whether other nodes can be reached, as far as is known.
        forward: for which conversations another node is preferred: for those that are contended, or for all
            or none.
    """

    def __init__(
        self,
        node: str,
        neighbours: Callable[[], frozenset[str]],
        *,
        sees: Callable[[], bool],
        forward: Forward,
        clock: Clock,
    ) -> None:
        self._node = node
        self._neighbours = neighbours
        self._sees = sees
        self._forward = forward
        self._clock = clock
        self._contended: dict[ConversationName, float] = {}
        self._troubles: dict[str, _Trouble] = {}
        self._known: frozenset[str] = frozenset()
        self._candidates: tuple[str, ...] = (node,)
        self._changes_s = float("inf")
        self._choices: dict[ConversationName, str] = {}

    def elsewhere(self, conv: ConversationName) -> str | None:
        """Return the other node that should append to ``conv``; None if this one should."""
        if self._forward == "never":
            return None
        if self._forward == "contended" and not self._is_contended(conv):
            return None
        if not self._sees():
            return None
        if self._neighbours() is not self._known or self._clock.monotonic_s() >= self._changes_s:
            self._choose_anew()
        choice = self._choices.get(conv)
        if choice is None:
            if len(self._choices) >= CONVERSATIONS_MAX:
                self._choices.clear()
            choice = self._choices[conv] = preferred(conv, self._candidates)
        return None if choice == self._node else choice

    def note_contention(self, conv: ConversationName) -> None:
        """Take in that another node took a place in the log that this node wanted."""
        self._contended.pop(conv, None)
        while len(self._contended) >= CONVERSATIONS_MAX:
            del self._contended[next(iter(self._contended))]
        self._contended[conv] = self._clock.monotonic_s() + CONTENDED_S

    def avoid(self, node: str) -> None:
        """Prefer others for a while, longer each time: ``node`` did not answer, or declined."""
        trouble = self._troubles.get(node)
        lasts_s = AVOIDED_S if trouble is None else min(2 * trouble.lasts_s, AVOIDED_S_MAX)
        self._troubles[node] = _Trouble(lasts_s, self._clock.monotonic_s() + lasts_s)
        self._choose_anew()

    def trust(self, node: str) -> None:
        """Take in that ``node`` has answered."""
        if self._troubles and self._troubles.pop(node, None) is not None:
            self._choose_anew()

    def _is_contended(self, conv: ConversationName) -> bool:
        until_s = self._contended.get(conv)
        if until_s is None:
            return False
        if self._clock.monotonic_s() < until_s:
            return True
        del self._contended[conv]
        return False

    def _choose_anew(self) -> None:
        now_s = self._clock.monotonic_s()
        self._known = self._neighbours()
        self._troubles = {
            node: trouble for node, trouble in self._troubles.items() if node in self._known
        }
        avoided = {node: t.until_s for node, t in self._troubles.items() if t.until_s > now_s}
        self._candidates = (self._node, *(self._known - avoided.keys()))
        self._changes_s = min(avoided.values(), default=float("inf"))
        self._choices.clear()
