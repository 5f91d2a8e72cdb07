"""Judges a run by its history and the raw store: the promises G1 to G14 and G22, each in linear time.

Two judgements are made elsewhere because they need more than the history: of the frames of each connection in
`watch`, and of convergence after the healing in `world`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from imserver.protocol.events import (
    GROUP_CREATED,
    GROUP_DELETED,
    MEMBERS_ADDED,
    MEMBERS_REMOVED,
    SERVER_KINDS,
    Event,
)
from imserver.protocol.names import is_group
from tests.simulation.history import HOLE, REFUSED, STORED, History, Life, Seen, Send
from tests.simulation.trace import Trace

Logs = dict[str, list[Event]]
DurableAt = dict[tuple[str, int, str], float]

_FOREVER = 1 << 60


class Judge:
    """One run's evidence, and what follows from it."""

    def __init__(self, history: History, logs: Logs, durable_at_s: DurableAt, trace: Trace) -> None:
        self._history = history
        self._logs = logs
        self._durable_at_s = durable_at_s
        self._trace = trace
        self._intervals = {conv: _membership(log) for conv, log in logs.items()}

    def judge(self) -> None:
        """Note every promise that was broken."""
        self._numbers()
        self._cids()
        self._sends()
        self._real_time()
        for page in self._history.pages:
            self._seen(page, "a page of history")
        for life in self._history.lives:
            self._life(life)

    def _event(self, conv: str, seq: int) -> Event | None:
        log = self._logs.get(conv, [])
        return log[seq - 1] if 1 <= seq <= len(log) else None

    def _numbers(self) -> None:
        for conv, log in self._logs.items():
            if [event.seq for event in log] != list(range(1, len(log) + 1)):
                self._problem("G2 the log has holes", f"{conv}: {[event.seq for event in log]}")

    def _cids(self) -> None:
        invoked = {(send.conv, send.robot, send.cid): send for send in self._history.sends}
        for conv, log in self._logs.items():
            known: dict[tuple[str, str], int] = {}
            for event in log:
                earlier = known.setdefault((event.sender, event.cid), event.seq)
                if earlier != event.seq:
                    self._problem("G4 stored twice", f"{conv} {earlier} and {event.seq}: {event}")
                if event.kind not in SERVER_KINDS:
                    self._origin(conv, event, invoked.get((conv, event.sender, event.cid)))

    def _origin(self, conv: str, event: Event, send: Send | None) -> None:
        if send is None or msgspec.msgpack.decode(event.body) != send.body:
            self._problem("G7, G22 nobody sent this", f"{conv}: {event}")
            return
        known = self._intervals[conv].get(event.sender, [])
        if is_group(conv) and not any(since < event.seq <= until for since, until in known):
            self._problem("G13 sent by one who was no member", f"{conv}: {event}, {known}")
        durable_s = self._durable_at_s.get((conv, event.seq, event.cid), 0.0)
        before = [attempt for attempt in send.attempts if attempt.began_s <= durable_s]
        if before and all(attempt.outcome == REFUSED for attempt in before):
            self._problem("G7 told as refused, and stored", f"{send} at {event.seq}: {before}")

    def _sends(self) -> None:
        for send in self._history.sends:
            places = {attempt.seq for attempt in send.attempts if attempt.outcome == STORED}
            if len(places) > 1:
                self._problem("G4 acked at two places", f"{send}: {sorted(places)}")
            for seq in places:
                event = self._event(send.conv, seq)
                if event is None or (event.sender, event.cid) != (send.robot, send.cid):
                    self._problem("G1 acked and lost", f"{send} at {seq}, where {event} is")
            for attempt in send.attempts:
                if attempt.ended_s is not None and attempt.ended_s > attempt.late_s:
                    self._problem("G14 answered too late", f"{send}: {attempt}")

    def _real_time(self) -> None:
        """What was acked before another send began has a lower seq."""
        by_conv: dict[str, list[tuple[float, int, int, Send]]] = {}
        for send in self._history.sends:
            ended = [a for a in send.attempts if a.outcome == STORED and a.ended_s is not None]
            if ended:
                moments = by_conv.setdefault(send.conv, [])
                first_ack_s = min(a.ended_s or 0.0 for a in ended)
                moments.append((send.attempts[0].began_s, 0, ended[0].seq, send))
                moments.append((first_ack_s, 1, ended[0].seq, send))
        for moments in by_conv.values():
            acked = 0
            for _, is_end, seq, send in sorted(moments, key=lambda moment: moment[:3]):
                if is_end:
                    acked = max(acked, seq)
                elif seq < acked:
                    self._problem("G5 order against real time", f"{send}: {seq} after {acked}")

    def _seen(self, seen: Seen, where: str) -> None:
        event = self._event(seen.conv, seen.seq)
        if event is None:
            self._problem("G8 seen and lost", f"{where}: {seen}")
            return
        body = msgspec.msgpack.decode(event.body)
        if (event.sender, event.cid, event.kind, event.ref, body) != (
            seen.sender,
            seen.cid,
            seen.kind,
            seen.ref,
            seen.body,
        ):
            self._problem("G3 another event at this place", f"{where}: {seen}, stored {event}")
        durable_s = self._durable_at_s.get((seen.conv, seen.seq, seen.cid))
        if durable_s is None or seen.at_s < durable_s:
            self._problem("G8 seen before it was durable", f"{where}: {seen}, {durable_s}")

    def _life(self, life: Life) -> None:
        last: dict[str, int] = {}
        holes: dict[str, int] = {}
        for seen in life.seen:
            if seen.kind == HOLE:
                self._hole(life, seen)
                holes[seen.conv] = seen.seq
                last.pop(seen.conv, None)
                continue
            self._seen(seen, life.name)
            self._allowed(life, seen)
            expected = last.get(seen.conv)
            if expected is None and seen.seq != holes.get(seen.conv, 0) + 1:
                self._start(life, seen)
            elif expected is not None and seen.seq != expected + 1:
                rule = "G9 an event twice" if seen.seq <= expected else "G9 an event skipped"
                self._problem(rule, f"{life.name}: {seen} after {expected}")
            last[seen.conv] = seen.seq

    def _hole(self, life: Life, hole: Seen) -> None:
        """Only who was removed may be told of events that will not come."""
        intervals = self._intervals.get(hole.conv, {}).get(life.robot, [])
        if not any(hole.body - 1 <= until <= hole.seq for _, until in intervals):
            self._problem("G9 a gap for no reason", f"{life.name}: {hole}, {intervals}")

    def _start(self, life: Life, seen: Seen) -> None:
        """A process goes on no later than where the one before ended, or where its robot was added."""
        # A device whose first acks were lost begins where another device of its robot is.
        done = max(life.before.get(seen.conv, 0), life.robot_before.get(seen.conv, 0))
        if seen.seq > done + 1 and not self._adds(seen, life.robot):
            self._problem("G11 skipped over a restart", f"{life.name}: {seen}, processed {done}")

    def _adds(self, seen: Seen, robot: str) -> bool:
        event = self._event(seen.conv, seen.seq)
        return event is not None and robot in _added(event)

    def _allowed(self, life: Life, seen: Seen) -> None:
        if not is_group(seen.conv):
            if life.robot not in seen.conv.split("/"):
                self._problem("G13 a stranger's line", f"{life.name}: {seen}")
            return
        intervals = self._intervals.get(seen.conv, {}).get(life.robot, [])
        for since, until in intervals:
            event = self._event(seen.conv, since)
            assert event is not None
            added_s = self._durable_at_s.get((seen.conv, since, event.cid), 0.0)
            if seen.seq <= until and added_s <= seen.at_s:
                return
        self._problem("G13 delivered to one who is no member", f"{life.name}: {seen}, {intervals}")

    def _problem(self, rule: str, story: str) -> None:
        self._trace.problem(rule, story)


def members_of(log: Iterable[Event]) -> set[str]:
    """Return who is a member at the end of a group's log."""
    intervals = _membership(list(log))
    return {robot for robot, known in intervals.items() if known[-1][1] == _FOREVER}


def _membership(log: list[Event]) -> dict[str, list[tuple[int, int]]]:
    """Return, for each robot, from which seq to which it was a member."""
    intervals: dict[str, list[tuple[int, int]]] = {}
    for event in log:
        for robot in _added(event):
            known = intervals.setdefault(robot, [])
            if not known or known[-1][1] != _FOREVER:
                known.append((event.seq, _FOREVER))
        for robot in _removed(event, intervals):
            known = intervals.get(robot, [])
            if known and known[-1][1] == _FOREVER:
                known[-1] = (known[-1][0], event.seq)
    return intervals


def _added(event: Event) -> Iterator[str]:
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
