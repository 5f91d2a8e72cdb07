"""The lines of sends that are judged once more, since another node changed the members meanwhile.

A store that nodes share refuses an event whose sender's rights were judged without a change of members that
comes before it in the log. Nothing need be wrong with the event: it is judged again by what the store says
now. What a sender sends to a conversation keeps its order all the same, by three rules:

1. All of it that is on its way to the store was judged by the same changes of members. So when the store
   refuses one for a change, it refuses those behind it for the same change, and none overtakes.
2. As long as one waits here, whatever comes later waits behind it.
3. Those that wait are judged only when none is on its way any more; from then on, by the new members.
"""

from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from imserver.logic.conversations import Conversation
from imserver.logic.delivery import Spawn
from imserver.logic.session import Session
from imserver.protocol.client_frames import Send

WAITING_MAX: Final = 10_000
"""So many sends may wait here, beside those that the store refused."""


class Look(Struct, frozen=True):
    """A send that may have to be judged again.

    Attributes:
        number: its place among all that are sent here.
        changed: the change of members that it has to be judged by, or a later one; 0 if none is known.
    """

    session: Session
    frame: Send
    body: bytes
    number: int = 0
    changed: int = 0


_Key: TypeAlias = tuple[Session, str]


class _Line:
    """What a session sends to a conversation.

    Attributes:
        flying: how many are on their way to the store.
        known: the seq up to which their sender's rights were judged.
        waiting: those that wait, in the order they were sent.
        is_judged: those that wait are being judged.
        now: the number of the one that is just judged; 0 if there is none.
        is_refused: the store has refused one since that began.
    """

    __slots__ = ("flying", "is_judged", "is_refused", "known", "now", "waiting")

    def __init__(self) -> None:
        self.flying = 0
        self.known = 0
        self.waiting: list[Look] = []
        self.is_judged = False
        self.is_refused = False
        self.now = 0


class SecondLook:
    """Judges sends again, line by line.

    Args:
        judge: judges a send as it is now, and puts it on its way or answers it; raises nothing.
    """

    def __init__(self, judge: Callable[[Look], Awaitable[None]], *, spawn: Spawn) -> None:
        self._judge = judge
        self._spawn = spawn
        self._lines: dict[_Key, _Line] = {}
        self._ready: deque[_Key] = deque()
        self._count = 0
        self._waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether no more may wait that could be refused instead."""
        return self._waiting >= WAITING_MAX

    def __len__(self) -> int:
        return len(self._lines)

    def next_number(self) -> int:
        """Return the place of the next send."""
        self._count += 1
        return self._count

    def is_ahead_of(self, look: Look) -> bool:
        """Tell whether anything waits here that ``look`` must not overtake."""
        line = self._lines.get(_key(look))
        if line is None:
            return False
        is_overtaken = bool(line.waiting) and line.waiting[0].number < look.number
        return is_overtaken or 0 < line.now < look.number

    def holds(self, session: Session, conv: str) -> bool:
        """Tell whether what ``session`` sends to ``conv`` now has to wait behind others."""
        line = self._lines.get((session, conv))
        return line is not None and (line.is_judged or bool(line.waiting))

    def take(self, look: Look) -> None:
        """Judge a send again, behind those that were sent before."""
        key = _key(look)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        insort(line.waiting, look, key=_number)
        self._waiting += 1
        self._go_on(key, line)

    def sends(self, look: Look, conversation: Conversation) -> int:
        """Note that a send is on its way; return by which seq its sender's rights were judged."""
        key = _key(look)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        if not line.flying or conversation.membership_seq <= line.known:
            line.known = conversation.head
        line.flying += 1
        return line.known

    def landed(self, look: Look, *, changed: int = 0) -> None:
        """Note that a send is on its way no longer; with ``changed`` the store has refused it for that."""
        key = _key(look)
        line = self._lines[key]
        line.flying -= 1
        if changed:
            line.is_refused = True
            self.take(replace(look, changed=changed))
        else:
            self._go_on(key, line)

    def _go_on(self, key: _Key, line: _Line) -> None:
        if line.flying or line.is_judged:
            return
        if not line.waiting:
            del self._lines[key]
            return
        line.is_judged = True
        self._ready.append(key)
        if len(self._ready) == 1:
            self._spawn(self._judge_all(), "second_look")

    async def _judge_all(self) -> None:
        while self._ready:
            key = self._ready[0]
            line = self._lines[key]
            line.is_refused = False
            while line.waiting and not line.is_refused:
                look = line.waiting.pop(0)
                self._waiting -= 1
                line.now = look.number
                await self._judge(look)
            line.now = 0
            line.is_judged = False
            self._go_on(key, line)
            self._ready.popleft()  # only now: while one is ready, no second task is begun


def _key(look: Look) -> _Key:
    return (look.session, look.frame.conv)


def _number(look: Look) -> int:
    return look.number
