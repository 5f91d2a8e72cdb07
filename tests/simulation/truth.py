"""What really stood in the logs, at any time of a run: what the words of clients are judged by.

A log can lose its end: by a restore from a backup, or because the disk lost what was durable. Each such
moment ends a *version* of all logs. A restore, and an operator who accepts a loss, begin a new epoch as well;
a loss that nobody has noticed yet does not, and then one epoch has several versions. Versions are complete:
what retention let go is still here.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import msgspec

from imserver.core.model import Keep
from imserver.data.memory.store import MemoryStore
from imserver.protocol.events import (
    GROUP_CREATED,
    GROUP_DELETED,
    MEMBERS_ADDED,
    MEMBERS_REMOVED,
    Event,
)
from imserver.protocol.names import ConversationName

Logs: TypeAlias = dict[str, list[Event]]
Spans: TypeAlias = list[tuple[int, int]]

FOREVER = 1 << 60


class Place(NamedTuple):
    """How far somebody is in a conversation: ``seq`` in the numbering of ``epoch``."""

    epoch: str
    seq: int


class Version:
    """All logs as they were at one moment, from their first event on.

    Attributes:
        floors: the first seq of each log that was still kept.
    """

    def __init__(self, epoch: str, logs: Logs, floors: dict[str, int]) -> None:
        self.epoch = epoch
        self.logs = logs
        self.floors = floors

    @cached_property
    def members(self) -> dict[str, dict[str, Spans]]:
        """For each conversation and robot, from which to which seq it was a member."""
        return {conv: _membership(log) for conv, log in self.logs.items()}

    def event(self, conv: str, seq: int) -> Event | None:
        """Return the event at a place, or None."""
        log = self.logs.get(conv, [])
        return log[seq - 1] if 1 <= seq <= len(log) else None


class Truth:
    """Every version of every log.

    Attributes:
        versions: oldest first.
        kept: for each change of epoch, the head of each log that outlived it.
        floors: for each conversation, when its floor came to be where.
        lost_tails: conversations that lost what was durable, and ``lost_at_s`` when any did.
        durable_at_s: since when an event was durable, by epoch, conversation, seq and cid.
    """

    def __init__(self, versions: list[Version]) -> None:
        self.versions = versions
        self.kept: dict[str, dict[str, int]] = {}
        self.floors: dict[str, list[tuple[float, int]]] = {}
        self.durable_at_s: dict[tuple[str, str, int, str], float] = {}
        self.lost_tails: set[str] = set()
        self.lost_at_s: list[float] = []

    @property
    def epochs(self) -> list[str]:
        """The epochs in the order they came."""
        return list(dict.fromkeys(version.epoch for version in self.versions))

    def of(self, epoch: str) -> list[Version]:
        """Return the versions of an epoch, newest first; of all epochs if it is empty."""
        return [v for v in reversed(self.versions) if epoch in ("", v.epoch)]

    def newest(self) -> Iterator[Version]:
        """Return the last version of each epoch."""
        return iter({version.epoch: version for version in self.versions}.values())

    def carried(self, conv: str, place: Place, epoch: str) -> int:
        """Return how far a place of an earlier epoch is in a later one."""
        epochs, seq = self.epochs, place.seq
        if place.epoch not in epochs or epoch not in epochs:
            return seq
        for later in epochs[epochs.index(place.epoch) + 1 : epochs.index(epoch) + 1]:
            seq = min(seq, self.kept[later].get(conv, 0))
        return seq

    def floor(self, conv: str, at_s: float) -> int:
        """Return the first seq of a log that was kept at a time."""
        floor = 1
        for since_s, seq in self.floors.get(conv, ()):
            if since_s > at_s:
                break
            floor = seq
        return floor

    def highest_floor(self, conv: str, at_s: float) -> int:
        """Return the first seq of a log that had never been let go until a time."""
        floors = self.floors.get(conv, ())
        return max((seq for since_s, seq in floors if since_s <= at_s), default=1)

    def furthest(self, conv: str, places: Iterable[Place], epoch: str) -> int:
        """Return how far the furthest of some places is in an epoch."""
        return max((self.carried(conv, place, epoch) for place in places), default=0)

    def durable_s(self, epoch: str, conv: str, event: Event) -> float | None:
        """Return since when an event was durable in an epoch; None if it never was."""
        return self.durable_at_s.get((epoch, conv, event.seq, event.cid))


class Archive(MemoryStore):
    """A store that keeps aside what it lets go."""

    def __init__(self, *, epoch: str) -> None:
        super().__init__(epoch=epoch, in_doubt=True)
        self._gone: Logs = {}

    async def trim(self, conv: ConversationName, below: int, *, limit: int) -> int:
        log = self._logs.get(conv)
        before = list(log.events) if log is not None else []
        floor = await super().trim(conv, below, limit=limit)
        self._gone.setdefault(conv, []).extend(event for event in before if event.seq < floor)
        return floor

    @property
    def epoch(self) -> str:
        """The epoch of every conversation."""
        return self._epoch

    def version(self) -> Version:
        """Return everything that ever was in the logs of this store."""
        logs = {c: self._gone.get(c, []) + log.events for c, log in sorted(self._logs.items())}
        floors = {c: log.floor for c, log in self._logs.items()}
        return Version(self._epoch, logs, floors)


def begin_epoch(store: MemoryStore, epoch: str) -> None:
    """Give every conversation a new epoch and bring cursors back to the heads."""
    store._epoch = epoch
    for conv, log in store._logs.items():
        log.epoch, log.seen = epoch, None
        cursors = store._cursors.get(ConversationName(conv), {})
        for device, seq in cursors.items():
            cursors[device] = min(seq, log.head)


def heads_of(store: MemoryStore) -> dict[str, int]:
    """Return the head of every log."""
    return {conv: log.head for conv, log in sorted(store._logs.items())}


def members_of(store: MemoryStore, conv: str) -> set[str]:
    """Return who is a member of a conversation."""
    return set(store._logs[conv].members)


def keeps_enough(store: MemoryStore, conv: str, keep: Keep) -> bool:
    """Tell whether a log still has the newest events, if their number alone decides."""
    log = store._logs[conv]
    if keep.events is None or keep.since_ms is not None or keep.body_bytes is not None:
        return True
    return len(log.events) >= min(keep.events, log.head)


def halted_of(store: MemoryStore) -> set[str]:
    """Return the conversations that take nothing more."""
    return {conv for conv, log in store._logs.items() if log.seen is not None}


def _membership(log: list[Event]) -> dict[str, Spans]:
    spans: dict[str, Spans] = {}
    for event in log:
        for robot in added(event):
            known = spans.setdefault(robot, [])
            if not known or known[-1][1] != FOREVER:
                known.append((event.seq, FOREVER))
        for robot in _removed(event, spans):
            known = spans.get(robot, [])
            if known and known[-1][1] == FOREVER:
                known[-1] = (known[-1][0], event.seq)
    return spans


def added(event: Event) -> Iterator[str]:
    """Return whom an event makes a member."""
    if event.kind == GROUP_CREATED:
        yield from _body(event)["members"]
    elif event.kind == MEMBERS_ADDED:
        yield from _body(event)["robots"]


def _removed(event: Event, known: Iterable[str]) -> Iterator[str]:
    if event.kind == MEMBERS_REMOVED:
        yield from _body(event)["robots"]
    elif event.kind == GROUP_DELETED:
        yield from list(known)


def _body(event: Event) -> Any:
    return msgspec.msgpack.decode(event.body)
