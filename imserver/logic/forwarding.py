"""The way into the log on a node with neighbours: what another node should append is handed on to it.

Most goes straight to this node's committer (`appenders` says when not). For a conversation that another
node is preferred for, what is sent here waits in a *lane*. A lane hands on one chunk at a time: whatever
arrives while one is away goes into the next, as with commits. The other node appends a chunk as one, and
answers with the outcomes.

When there is no answer, this node appends the chunk itself. The other may have done so, or may yet, however
late: then one of the two finds the cid taken, and both learn the same place. Nobody is told twice, since
only this node knows whom to tell.

Why a sender's events keep their order. A lane begins only when all that this node's committer has of the
conversation is settled, a chunk leaves when the one before it is, and what goes with a chunk goes in its
order. What an outcome is not told for is always the end of a chunk, and settled here before anything else
leaves. A chunk that its answerer appends late was stored as a whole before anything behind it was sent, so
nothing of it is new. Changes of members, files, large bodies and what only asks (`Recall`) are appended by
this node, for they are rare, but in the lane like all the rest.

What waits in a lane is fair among robots and bounded as in the committer.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from imserver.core.errors import Refusal
from imserver.core.model import Append, Outcome, Run, Stored
from imserver.logic.appenders import Appenders
from imserver.logic.committer import CHANGED, Committer, Waiter, refuse, when_awaited
from imserver.logic.delivery import Spawn
from imserver.logic.fair_queue import Entry, FairQueue, weigh
from imserver.logic.handed_on import can_be_handed_on, outcomes_of, question_of
from imserver.logic.metrics import ForwardingMetrics
from imserver.protocol.names import ConversationName
from imserver.route.requests import Requests, Unanswered

ANSWER_S: Final = 2.0
"""A node that takes longer is slower than appending here, and perhaps gone."""

CHUNK_EVENTS_MAX: Final = 256
CHUNK_BYTES_MAX: Final = 192 * 1024
_BUDGET_PARTS: Final = 4
"""So large a part of what may wait for the store may wait in lanes."""


class _Lane:
    """What waits of one conversation. ``is_away``: a chunk of it is with another node."""

    __slots__ = ("conv", "is_away", "queue")

    def __init__(self, conv: ConversationName) -> None:
        self.conv = conv
        self.is_away = False
        self.queue = FairQueue()


class _Counted(Struct, eq=False):
    """A waiter in the committer, whose end its lane may wait for."""

    conv: ConversationName
    waiter: Waiter
    on_settled: Callable[[ConversationName], None]

    def on_outcome(self, outcome: Outcome) -> None:
        self.waiter.on_outcome(outcome)
        self.on_settled(self.conv)

    def on_refusal(self, refusal: Refusal) -> None:
        self.waiter.on_refusal(refusal)
        self.on_settled(self.conv)


class _Doubtful:
    """A waiter whose event another node has perhaps stored already: then that is no repetition by its sender.

    That node may have died before it told anybody of the event, so it is told of here.
    """

    __slots__ = ("_append", "_publish", "_waiter")

    def __init__(self, append: Append, waiter: Waiter, publish: Callable[[Run], None]) -> None:
        self._append = append
        self._waiter = waiter
        self._publish = publish

    def on_outcome(self, outcome: Outcome) -> None:
        if type(outcome) is Stored and outcome.dup and outcome.event.ts == self._append.ts:
            self._waiter.on_outcome(Stored(outcome.epoch, outcome.event, dup=False))
            self._publish(Run(self._append.conv, outcome.epoch, [outcome.event]))
        else:
            self._waiter.on_outcome(outcome)

    def on_refusal(self, refusal: Refusal) -> None:
        self._waiter.on_refusal(refusal)


class Forwarding:
    """A `WayIn`."""

    def __init__(
        self,
        committer: Committer,
        appenders: Appenders,
        requests: Requests,
        *,
        metrics: ForwardingMetrics,
        spawn: Spawn,
    ) -> None:
        self._committer = committer
        self._appenders = appenders
        self._requests = requests
        self._metrics = metrics
        self._spawn = spawn
        self._lanes: dict[ConversationName, _Lane] = {}
        self._here: dict[ConversationName, int] = {}
        self._bytes = 0
        self._bytes_max = committer.pending_bytes_max // _BUDGET_PARTS
        self._is_draining = False
        self._is_idle = asyncio.Event()

    def __len__(self) -> int:
        """Return how many conversations have a lane."""
        return len(self._lanes)

    def submit(self, append: Append, waiter: Waiter) -> None:
        conv = append.conv
        lane = self._lanes.get(conv)
        # Without a lane nothing waits that this could overtake; a new one would keep a drain waiting.
        if lane is None and (self._is_draining or self._appenders.elsewhere(conv) is None):
            self._submit_here(append, waiter)
            return
        self._require_room(lane, append)
        if lane is None:
            lane = self._lanes[conv] = _Lane(conv)
        lane.queue.put((append, waiter))
        self._bytes += weigh(append)
        self._go_on(lane)

    async def append(self, append: Append) -> Outcome:
        return await when_awaited(self, append)

    async def drain(self) -> None:
        """Hand nothing on any more; return when all that waited has gone to the committer."""
        self._is_draining = True
        for lane in list(self._lanes.values()):
            self._go_on(lane)
        if self._lanes:
            await self._is_idle.wait()

    def _submit_here(self, append: Append, waiter: Waiter) -> None:
        conv = append.conv
        self._committer.submit(append, _Counted(conv, waiter, self._on_settled))
        self._here[conv] = self._here.get(conv, 0) + 1

    def _hand_over(self, entry: Entry) -> None:
        """Give what has waited here to the committer."""
        append, waiter = entry
        try:
            self._submit_here(append, waiter)
        except Refusal as refusal:
            waiter.on_refusal(refusal)

    def _on_settled(self, conv: ConversationName) -> None:
        left = self._here[conv] - 1
        if left:
            self._here[conv] = left
            return
        del self._here[conv]
        lane = self._lanes.get(conv)
        if lane is not None:
            self._go_on(lane)

    def _go_on(self, lane: _Lane) -> None:
        """Send what may leave a lane now; end the lane if nothing is left."""
        while not lane.is_away and lane.conv not in self._here:
            target = None if self._is_draining else self._appenders.elsewhere(lane.conv)
            if target is None or not lane.queue:
                self._end(lane)
                return
            taken = lane.queue.take(events_max=CHUNK_EVENTS_MAX, bytes_max=CHUNK_BYTES_MAX)
            self._bytes -= sum(weigh(append) for append, _ in taken.withdrawn)
            refuse(taken.withdrawn, CHANGED)
            if all(can_be_handed_on(append) for append, _ in taken.batch):
                lane.is_away = True
                self._spawn(self._hand_on(lane, target, taken.batch), "forwarding")
            else:
                self._take_back(taken.batch)

    def _end(self, lane: _Lane) -> None:
        del self._lanes[lane.conv]
        self._take_back(lane.queue.entries())
        if not self._lanes and self._is_draining:
            self._is_idle.set()

    def _take_back(self, batch: Sequence[Entry]) -> None:
        self._bytes -= sum(weigh(append) for append, _ in batch)
        for entry in batch:
            self._hand_over(entry)

    async def _hand_on(self, lane: _Lane, target: str, batch: list[Entry]) -> None:
        """Have another node append a chunk, and append here what it leaves open."""
        appends = [append for append, _ in batch]
        told: list[Outcome | None]
        try:
            question = question_of(appends)
            answer = await self._requests.ask(target, question, timeout_s=ANSWER_S)
            told = outcomes_of(answer, appends)
        except (Unanswered, ValueError):
            told = [None] * len(batch)
        if told[0] is None:
            self._appenders.avoid(target)
        else:
            self._appenders.trust(target)
        self._settle(batch, told)
        lane.is_away = False
        self._go_on(lane)

    def _settle(self, batch: list[Entry], told: list[Outcome | None]) -> None:
        left: list[Entry] = []
        for (append, waiter), outcome in zip(batch, told, strict=True):
            if outcome is None:
                left.append((append, _Doubtful(append, waiter, self._committer.publish)))
            else:
                self._bytes -= weigh(append)
                waiter.on_outcome(outcome)
        self._metrics.forwarded.inc(len(batch) - len(left))
        self._metrics.fell_back.inc(len(left))
        self._take_back(left)

    def _require_room(self, lane: _Lane | None, append: Append) -> None:
        """Refuse an event of a robot that has more waiting in the lane than is still free in all lanes."""
        waiting = 0 if lane is None else lane.queue.weight_of(append.sender)
        if waiting + weigh(append) > self._bytes_max - self._bytes:
            raise self._committer.overloaded()
