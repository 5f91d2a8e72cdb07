"""Events that wait for the store while there are more than go into one commit, each robot behind itself.

Every robot has a line, first in, first out. Which line goes next is told by tags: the tag of an event is that
of the event before it in its line, or the present if that is later, plus what it weighs, and the least tag of
all heads goes first. The present is the latest beginning (tag less weight) of an event that went. So robots
that have something waiting share the store by weight, however much they have waiting and over however many
connections, and a small event of a robot that has nothing else waiting goes before all large ones.

Nothing that a robot asked for in a group may follow the event that changes its membership there. In one line
for all that is so by itself; here the change takes what waits of that robot in that group out of its line.

Sources of the idea: Demers, Keshav and Shenker, "Analysis and simulation of a fair queueing algorithm",
SIGCOMM 1989; the clock is that of Goyal, Vin and Cheng, "Start-time fair queueing", SIGCOMM 1996.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from imserver.core.model import Added, Append, Removed
from imserver.protocol.names import ConversationName, RobotName

if TYPE_CHECKING:
    from imserver.logic.committer import Waiter

EVENT_BYTES: Final = 512
"""What an event takes beside its body: its fields, its waiter, its row in the store."""

TURN_BYTES: Final = 2_048
"""How much more than its head a line may give in one turn."""

Entry: TypeAlias = "tuple[Append, Waiter]"


class Taken(NamedTuple):
    """What leaves the queue: events that go into the next commit, and events that must not any more."""

    batch: list[Entry]
    withdrawn: list[Entry]


class _Line:
    """What one robot has waiting; ``tag`` is that of the last event that left it."""

    __slots__ = ("entries", "tag", "weight")

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.tag = 0
        self.weight = 0


class FairQueue:
    """The lines of all robots that have something waiting.

    Attributes:
        weight: what all that waits weighs, in bytes.
    """

    def __init__(self) -> None:
        self.weight = 0
        self._lines: dict[RobotName, _Line] = {}
        self._heads: list[tuple[int, int, _Line]] = []
        self._now = 0
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._heads)

    def weight_of(self, robot: RobotName) -> int:
        """Return what all that waits of ``robot`` weighs, in bytes."""
        line = self._lines.get(robot)
        return line.weight if line is not None else 0

    def put(self, entry: Entry) -> None:
        """Let an event wait at the end of its robot's line."""
        append = entry[0]
        line = self._lines.get(append.sender)
        if line is None:
            line = self._lines[append.sender] = _Line()
        weight = weigh(append)
        if not line.entries:
            self._count += 1
            heappush(self._heads, (max(self._now, line.tag) + weight, self._count, line))
        line.entries.append(entry)
        line.weight += weight
        self.weight += weight

    def take(self, *, events_max: int, bytes_max: int) -> Taken:
        """Take the events whose turn it is: at least one if there is one, else no more than fit."""
        taken = Taken([], [])
        room = bytes_max
        while self._heads and len(taken.batch) < events_max:
            used = self._take_turn(taken.batch, events_max=events_max, room=room)
            if not used:
                break
            room -= used
            last = taken.batch[-1][0]
            if isinstance(last.change, Added | Removed):
                taken.withdrawn.extend(self._withdraw(last.conv, last.change.robots))
        if not self._heads:
            self._lines.clear()
            self._now = self._count = 0
        return taken

    def entries(self) -> list[Entry]:
        """Return all that waits, line by line."""
        return [entry for line in self._lines.values() for entry in line.entries]

    def _take_turn(self, batch: list[Entry], *, events_max: int, room: int) -> int:
        """Take events of the line whose turn it is into ``batch``, up to one that changes members; return
        what they weigh, 0 if there is no room for one. Turns of a few events save most of the sorting."""
        tag, _, line = self._heads[0]
        entries, end, used = line.entries, tag + TURN_BYTES, 0
        weight = weigh(entries[0][0])
        begin = tag - weight
        while entries and tag <= end and len(batch) < events_max:
            if used + weight > room and batch:
                break
            entry = entries.popleft()
            batch.append(entry)
            used += weight
            line.tag = tag
            if entries:
                weight = weigh(entries[0][0])
                tag += weight
            if entry[0].change is not None:
                break
        if not used:
            return 0
        self._now = max(self._now, begin)
        line.weight -= used
        self.weight -= used
        if not entries:
            heappop(self._heads)
        else:
            self._count += 1
            heapreplace(self._heads, (tag, self._count, line))
        return used

    def _withdraw(self, conv: ConversationName, robots: tuple[RobotName, ...]) -> list[Entry]:
        """Take what waits of some robots in a conversation out of their lines."""
        withdrawn: list[Entry] = []
        for robot in robots:
            line = self._lines.get(robot)
            if line is not None:
                gone = [entry for entry in line.entries if entry[0].conv == conv]
                if gone:
                    self._remove(line, conv, sum(weigh(append) for append, _ in gone))
                    withdrawn += gone
        return withdrawn

    def _remove(self, line: _Line, conv: ConversationName, weight: int) -> None:
        line.entries = deque(entry for entry in line.entries if entry[0].conv != conv)
        line.weight -= weight
        self.weight -= weight
        if not line.entries:
            self._heads = [head for head in self._heads if head[2] is not line]
            heapify(self._heads)


def weigh(append: Append) -> int:
    """Return what an event that waits takes of memory and of the store's time, in bytes."""
    return len(append.body) + EVENT_BYTES
