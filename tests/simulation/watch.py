"""Watches the frames of a robot's connections: what the SDK would repair in silence is seen here.

On TCP nothing is lost, doubled or reordered within a connection. So every run must begin exactly where the
one before ended, the first one exactly where the session resumes, and answers to sends come in order.
"""

from typing import Any

import msgspec

from client_sdk.machine import Machine
from imserver.protocol import client_frames as up
from imserver.protocol import server_frames as down
from imserver.protocol.events import GROUP_CREATED, MEMBERS_ADDED, MEMBERS_REMOVED, Event
from tests.simulation.history import Life
from tests.simulation.society import Society


class Watch:
    """The frames of one life of one robot's device."""

    def __init__(self, society: Society, life: Life, *, codec: str) -> None:
        self._society = society
        self._trace = society.trace
        self._life = life
        self._decode = msgspec.json.decode if codec == "json" else msgspec.msgpack.decode
        self._resume: dict[str, up.Position] = {}
        self._begin_connection()

    def tap(self, machine: Machine) -> None:
        """Look at everything that passes between a machine and its shell."""
        receive, take = machine.received, machine.take_frames

        def received(frame: Any, now_s: float) -> None:
            self._on_down(frame)
            receive(frame, now_s)

        def take_frames() -> list[Any]:
            frames = take()
            for frame in frames:
                self._on_up(frame)
            return frames

        machine.received = received  # type: ignore[method-assign]
        machine.take_frames = take_frames  # type: ignore[method-assign]

    def _begin_connection(self) -> None:
        self._epochs: dict[str, str] = {}
        self._next: dict[str, int] = {}
        self._owed: set[str] = set()
        self._cut_back: dict[str, tuple[int, str]] = {}
        self._removed: dict[str, int] = {}
        self._let_go: dict[str, int] = {}
        self._asked: dict[int, tuple[str, int]] = {}
        self._order: dict[int, int] = {}
        self._answered: dict[str, tuple[int, int]] = {}
        self._revs: dict[tuple[str, str, str], int] = {}
        self._written = 0

    def _on_up(self, frame: Any) -> None:
        match frame:
            case up.Hello():
                self._begin_connection()
                self._resume = frame.resume
            case up.Follow():
                self._asked[frame.id] = (frame.conv, int(frame.after))
                self._next.pop(frame.conv, None)
                self._trace.counts["repairs"] += 1
            case up.Send():
                self._written += 1
                self._order[frame.id] = self._written
                written = self._life.written.setdefault(frame.conv, [])
                if frame.cid not in written:
                    written.append(frame.cid)

    def _on_down(self, frame: Any) -> None:
        match frame:
            case down.Welcome():
                for state in frame.conversations:
                    self._welcome(state)
            case down.Deliver():
                self._deliver(frame)
            case down.Ok() if frame.id in self._asked:
                conv, after = self._asked.pop(frame.id)
                self._next[conv] = after + 1
            case down.Sent():
                self._sent(frame)
            case down.Error() if frame.id is not None:
                self._order.pop(frame.id, None)
            case down.Error() if "ack" in frame.message.split():
                self._problem("an ack was refused", frame.message)
            case down.Gap():
                self._gap(frame)
            case down.SignalValue():
                self._signal(frame)
            case down.Head() if frame.conv in self._next:
                if frame.seq < self._next[frame.conv] - 1:
                    self._problem("G8 head went back", f"{frame}")

    def _welcome(self, state: down.ConversationState) -> None:
        conv = state.conv
        self._epochs[conv] = state.epoch
        position = self._resume.get(conv)
        if position is None:
            self._next[conv] = state.acked + 1
            return
        if position.epoch == state.epoch and position.seq <= state.seq:
            self._next[conv] = position.seq + 1
            return
        why = down.RESTORED if position.epoch != state.epoch else down.AHEAD
        if why == down.AHEAD:
            self._ahead(conv, position, state.seq)
        else:
            self._trace.counts["resumed under an old epoch"] += 1
        start = min(state.acked, state.seq, position.seq)
        self._next[conv] = start + 1
        self._cut_back[conv] = (position.seq, why)
        if position.seq > start:
            self._owed.add(conv)

    def _ahead(self, conv: str, position: up.Position, head: int) -> None:
        self._trace.counts["resumed beyond the head"] += 1
        if not self._society.may_be_ahead(conv):
            what = f"{conv} has {head} events, {position.seq} were processed here"
            self._problem("G1 the log is shorter than what was delivered", what)
        self._society.bear_witness(conv, position.epoch, head, position.seq)

    def _gap(self, frame: down.Gap) -> None:
        if frame.id is not None:
            self._trace.counts["gaps before pages"] += 1
            return
        self._trace.counts[f"gaps on the wire: {frame.why}"] += 1
        conv, expected = frame.conv, self._next.get(frame.conv)
        cut_back = self._cut_back.pop(conv, None)
        is_cut_back = cut_back == (frame.to, frame.why)
        if is_cut_back and expected is not None and frame.from_ <= expected:
            # It begins earlier where the welcome named another device's cursor.
            self._owed.discard(conv)
            self._next[conv] = frame.from_
        elif frame.why != down.RETENTION:
            self._problem("G9 gap", f"a gap in {conv}: {frame}, expected {cut_back}, {expected}")
        elif self._removed.get(conv) == frame.from_:  # and was added again in what went
            self._removed[conv] = frame.to + 1
        elif expected == frame.from_:
            self._next[conv] = self._let_go[conv] = frame.to + 1
        elif expected is not None:
            self._problem("G9 gap", f"a gap in {conv}: {frame}, expected {expected}")

    def _deliver(self, frame: down.Deliver) -> None:
        conv, first, last = frame.conv, frame.events[0].seq, frame.events[-1].seq
        if [event.seq for event in frame.events] != list(range(first, last + 1)):
            self._problem("G9 a run with holes", f"{conv} {first} to {last}")
        if self._epochs.setdefault(conv, frame.epoch) != frame.epoch:
            self._problem("G9 another epoch", f"{conv}: {frame.epoch}, not {self._epochs[conv]}")
        if conv in self._owed:
            self._owed.remove(conv)
            self._problem("G9 a hole that was not told", f"{conv}: {frame}")
        expected = self._next.get(conv)
        if expected is None:
            self._check_first(conv, frame.events[0])
        elif first > expected == self._let_go.get(conv):
            # Its removal may be among what was let go.
            self._check_first(conv, frame.events[0])
        elif first != expected:
            rule = "G11 delivered again" if first < expected else "G11 skipped"
            self._problem(rule, f"{conv} {first} to {last} instead of {expected}")
        self._next[conv] = last + 1
        newest = frame.events[-1]
        if newest.kind == MEMBERS_REMOVED and self._life.robot in self._named(newest):
            self._removed[conv] = self._next.pop(conv)
        else:
            self._removed.pop(conv, None)

    def _check_first(self, conv: str, event: Event) -> None:
        asked = any(name == conv for name, _ in self._asked.values())
        is_adding = event.kind in (GROUP_CREATED, MEMBERS_ADDED)
        adding = is_adding and self._life.robot in self._named(event)
        # Who is added again before it was told of its removal goes on behind that without a hole.
        goes_on = event.seq == self._removed.get(conv)
        if adding and conv in self._removed and not goes_on:
            self._trace.counts["went on from where it was added again"] += 1
        if not (asked or adding or goes_on or event.seq == 1):
            self._problem("G13 delivered to one who is no member", f"{conv} {event.seq}")

    def _named(self, event: Event) -> Any:
        body = self._decode(event.body)
        return body["members"] if event.kind == GROUP_CREATED else body["robots"]

    def _sent(self, frame: down.Sent) -> None:
        place = self._order.pop(frame.id, None)
        if place is None:
            self._problem("G14 answered twice", f"{frame}")
            return
        if frame.dup:
            return
        known = self._answered.get(frame.conv)
        if known is not None and (place > known[0]) != (frame.seq > known[1]):
            self._problem("G6 pipelined sends out of order", f"{frame.conv} {frame.seq}")
        self._answered[frame.conv] = max(known, (place, frame.seq)) if known else (place, frame.seq)

    def _signal(self, frame: down.SignalValue) -> None:
        key = (frame.conv, frame.sender, frame.key)
        if frame.rev <= self._revs.get(key, 0):
            self._problem("signals go back", f"{key}: {frame.rev} after {self._revs[key]}")
        self._revs[key] = frame.rev

    def _problem(self, rule: str, story: str) -> None:
        self._trace.problem(rule, f"{self._life.name}: {story}")
