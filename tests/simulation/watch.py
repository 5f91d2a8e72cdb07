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
from tests.simulation.trace import Trace


class Watch:
    """The frames of one life of one robot's device."""

    def __init__(self, trace: Trace, who: str, robot: str, *, json: bool) -> None:
        self._trace = trace
        self._who = who
        self._robot = robot
        self._decode = msgspec.json.decode if json else msgspec.msgpack.decode
        self._resume: dict[str, Any] = {}
        self._next: dict[str, int] = {}
        self._removed: dict[str, int] = {}
        self._asked: dict[int, tuple[str, int]] = {}
        self._order: dict[int, int] = {}
        self._written = 0
        self._answered: dict[str, tuple[int, int]] = {}

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

    def _on_up(self, frame: Any) -> None:
        match frame:
            case up.Hello():
                self._resume = frame.resume
                self._next.clear()
                self._removed.clear()
                self._asked.clear()
                self._order.clear()
                self._answered.clear()
            case up.Follow():
                self._asked[frame.id] = (frame.conv, int(frame.after))
                self._next.pop(frame.conv, None)
                self._trace.counts["repairs"] += 1
            case up.Send():
                self._written += 1
                self._order[frame.id] = self._written

    def _on_down(self, frame: Any) -> None:
        match frame:
            case down.Welcome():
                self._welcome(frame)
            case down.Deliver():
                self._deliver(frame)
            case down.Ok() if frame.id in self._asked:
                conv, after = self._asked.pop(frame.id)
                self._next[conv] = after + 1
            case down.Sent():
                self._sent(frame)
            case down.Gap():
                self._problem("G9 gap", f"a gap in {frame.conv}: {frame.why}")
            case down.Head() if frame.conv in self._next:
                if frame.seq < self._next[frame.conv] - 1:
                    self._problem("G8 head went back", f"{frame}")

    def _welcome(self, frame: down.Welcome) -> None:
        for state in frame.conversations:
            position = self._resume.get(state.conv)
            if position is not None and position.seq > state.seq:
                self._problem(
                    "G1 the log is shorter than what was delivered",
                    f"{state.conv} has {state.seq} events, {position.seq} were processed here",
                )
            elif position is not None:
                self._next[state.conv] = position.seq + 1
            else:
                self._next[state.conv] = state.acked + 1

    def _deliver(self, frame: down.Deliver) -> None:
        first, last = frame.events[0].seq, frame.events[-1].seq
        if [event.seq for event in frame.events] != list(range(first, last + 1)):
            self._problem("G9 a run with holes", f"{frame.conv} {first} to {last}")
        expected = self._next.get(frame.conv)
        if expected is None:
            self._check_first(frame.conv, frame.events[0])
        elif first != expected:
            rule = "G11 delivered again" if first < expected else "G11 skipped"
            self._problem(rule, f"{frame.conv} {first} to {last} instead of {expected}")
        self._next[frame.conv] = last + 1
        newest = frame.events[-1]
        if newest.kind == MEMBERS_REMOVED and self._robot in self._named(newest):
            self._removed[frame.conv] = self._next.pop(frame.conv)

    def _check_first(self, conv: str, event: Event) -> None:
        asked = any(name == conv for name, _ in self._asked.values())
        adding = event.kind in (GROUP_CREATED, MEMBERS_ADDED) and self._robot in self._named(event)
        # Who is added again before it was told of its removal goes on behind that without a hole.
        goes_on = event.seq == self._removed.get(conv)
        if not (asked or adding or goes_on or event.seq == 1):
            self._problem("G13 delivered to one who is no member", f"{conv} {event.seq}")

    def _named(self, event: Event) -> Any:
        body = self._decode(event.body)
        return body["members"] if event.kind == GROUP_CREATED else body["robots"]

    def _sent(self, frame: down.Sent) -> None:
        place = self._order.get(frame.id)
        if place is None or frame.dup:
            return
        known = self._answered.get(frame.conv)
        if known is not None and (place > known[0]) != (frame.seq > known[1]):
            self._problem("G6 pipelined sends out of order", f"{frame.conv} {frame.seq}")
        self._answered[frame.conv] = max(known, (place, frame.seq)) if known else (place, frame.seq)

    def _problem(self, rule: str, story: str) -> None:
        self._trace.problem(rule, f"{self._who}: {story}")
