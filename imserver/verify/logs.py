"""The logs that clients' words are measured against, and who was a member of a conversation when.

With a *raw* log, read from the store, a log is the truth. Without one (or for an epoch that the raw log
does not have, because the store was restored from a backup) a log is put together from what the clients
observed: the first observation of a place is taken for the truth, and the others must agree with it.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from msgspec import Struct

from imserver.core.model import Added, Created, Deleted, MembershipChange, Removed
from imserver.protocol.events import SERVER_CID_PREFIX, SERVER_KINDS
from imserver.protocol.names import InvalidName, direct, is_group

FOREVER: Final = 2**62
"""Stands for the end of a membership that has not ended."""

Content: TypeAlias = int
"""A hash of what an event says: kind, ref and body. Two contents are only ever compared with each other, so
that 64 bits leave no room for chance."""


def content_of(kind: str, ref: int | None, body_sha: str | None) -> Content:
    """Return the hash of what an event says."""
    return hash((kind, ref, body_sha))


class Entry(Struct, gc=False):
    """A place in a log: whose event, and what it says. ``where``: the record that told, -1 for a raw log."""

    sender: str
    cid: str
    kind: str
    content: Content
    where: int = -1

    @property
    def is_the_servers(self) -> bool:
        """Whether the server wrote it for somebody, so that no client invoked it as a send."""
        return self.kind in SERVER_KINDS or self.cid.startswith(SERVER_CID_PREFIX)


class Double(Struct, frozen=True):
    """A cid that stands in a log twice."""

    sender: str
    cid: str
    seqs: tuple[int, int]


class ConversationLog:
    """A conversation's log under one epoch.

    Attributes:
        conv, epoch: which; an empty epoch is an unknown one.
        is_raw: it was read from the store.
        floor: the first seq that retention has kept.
        entries: the events by seq.
        places: seq by sender and cid.
        doubles: cids that stand there twice.
        repeated: seqs that came twice from the store.
        head: the highest seq.
        members: for each robot, from and to which seq it was a member; None if that is not known.
    """

    def __init__(self, conv: str, epoch: str, *, is_raw: bool) -> None:
        self.conv = conv
        self.epoch = epoch
        self.is_raw = is_raw
        self.floor = 1
        self.entries: dict[int, Entry] = {}
        self.places: dict[str, dict[str, int]] = {}
        self.doubles: list[Double] = []
        self.repeated: list[int] = []
        self.head = 0
        self.members: dict[str, list[tuple[int, int]]] | None = None

    def raise_floor(self, floor: int) -> None:
        """Note that the events before ``floor`` were removed by retention."""
        self.floor = max(self.floor, floor)
        self.head = max(self.head, floor - 1)

    def put(self, seq: int, entry: Entry) -> None:
        """Take in an event."""
        if seq in self.entries:
            self.repeated.append(seq)
            return
        self.entries[seq] = entry
        if seq > self.head:
            self.head = seq
        by_cid = self.places.setdefault(entry.sender, {})
        first = by_cid.setdefault(entry.cid, seq)
        if first != seq:
            self.doubles.append(Double(entry.sender, entry.cid, (first, seq)))

    def missing(self, *, most: int) -> list[tuple[int, int]]:
        """Return the first ``most`` ranges of seq that the log lacks below its head."""
        holes: list[tuple[int, int]] = []
        if len(self.entries) == self.head - self.floor + 1:
            return holes
        expected = self.floor
        for seq in sorted(self.entries):
            if seq > expected:
                holes.append((expected, seq - 1))
            expected = max(expected, seq + 1)
        return holes[:most]

    def fold_members(self, changes: Iterable[tuple[int, MembershipChange]]) -> None:
        """Work out the memberships from the log's own events, in order."""
        if not is_group(self.conv):
            self.members = {robot: [(1, FOREVER)] for robot in _pair(self.conv)}
        elif self.floor == 1:
            self.members = {}
            for seq, change in changes:
                _apply(self.members, change, seq)

    def member_until(self, robot: str) -> int:
        """Return the last seq that a robot may see; 0 if it was never a member."""
        if self.members is None:
            return FOREVER
        spans = self.members.get(robot)
        return spans[-1][1] if spans else 0

    def is_member(self, robot: str, seq: int) -> bool:
        """Tell whether a robot was a member at a seq (joining and leaving included)."""
        if self.members is None:
            return True
        return any(since <= seq <= until for since, until in self.members.get(robot, ()))

    def joins(self, robot: str) -> list[int]:
        """Return the seqs of the events that made a robot a member."""
        return [since for since, _ in (self.members or {}).get(robot, ())]

    def is_rejoin(self, robot: str, last: int, seq: int) -> bool:
        """Tell whether a robot goes on with ``seq`` after ``last`` because it was no member in between."""
        if self.members is None:
            return False
        spans = self.members.get(robot, [])
        return any(
            until == last and since == seq for (_, until), (since, _) in itertools.pairwise(spans)
        )


class Logs:
    """All logs.

    Attributes:
        source: where the raw log was read from, None without one.
        cursors: how far each (robot, device, conv) has come by the store, None if that is not known.
    """

    def __init__(self, source: str | None = None) -> None:
        self.source = source
        self.cursors: dict[tuple[str, str, str], int] | None = None
        self._raw: dict[str, ConversationLog] = {}
        self._epochs: set[str] = set()
        self._observed: dict[str, dict[str, ConversationLog]] = {}

    def __iter__(self) -> Iterator[ConversationLog]:
        yield from self._raw.values()
        for by_epoch in self._observed.values():
            yield from by_epoch.values()

    @property
    def is_raw(self) -> bool:
        """Whether there is a raw log."""
        return self.source is not None

    def raw(self) -> list[ConversationLog]:
        """Return the logs that were read from the store."""
        return list(self._raw.values())

    def all_of(self, conv: str) -> list[ConversationLog]:
        """Return the logs of a conversation, one for each epoch, the raw one first."""
        observed = list(self._observed.get(conv, {}).values())
        return [self._raw[conv], *observed] if conv in self._raw else observed

    def add_raw(self, log: ConversationLog) -> None:
        """Take in a log that was read from the store."""
        self._raw[log.conv] = log
        self._epochs.add(log.epoch)

    def of(self, conv: str, epoch: str) -> ConversationLog:
        """Return the log that a word about a conversation and epoch is measured against."""
        log = self._raw.get(conv)
        if log is not None and (log.epoch == epoch or not epoch or not log.epoch):
            return log
        if self.is_raw and log is None and (not self._epochs or epoch in self._epochs or not epoch):
            log = self._raw[conv] = ConversationLog(conv, epoch, is_raw=True)
            log.fold_members(())
            return log
        return self._observed_log(conv, epoch)

    def _observed_log(self, conv: str, epoch: str) -> ConversationLog:
        by_epoch = self._observed.setdefault(conv, {})
        log = by_epoch.get(epoch)
        if log is not None:
            return log
        if not epoch and by_epoch:
            return next(reversed(by_epoch.values()))
        # What was said before anybody named an epoch is taken for the first that is named.
        log = by_epoch.pop("", None) or ConversationLog(conv, epoch, is_raw=False)
        log.epoch = epoch
        by_epoch[epoch] = log
        return log


def _apply(members: dict[str, list[tuple[int, int]]], change: MembershipChange, seq: int) -> None:
    match change:
        case Created(members=robots) | Added(robots=robots):
            for robot in robots:
                spans = members.setdefault(robot, [])
                if not spans or spans[-1][1] != FOREVER:
                    spans.append((seq, FOREVER))
        case Removed(robots=robots):
            for robot in robots:
                _end(members.get(robot, []), seq)
        case Deleted():
            for spans in members.values():
                _end(spans, seq)


def _end(spans: list[tuple[int, int]], seq: int) -> None:
    if spans and spans[-1][1] == FOREVER:
        spans[-1] = (spans[-1][0], seq)


def _pair(conv: str) -> tuple[str, ...]:
    try:
        _, one, other = conv.split("/")
        direct(one, other)
    except (ValueError, InvalidName):
        return ()
    return one, other
