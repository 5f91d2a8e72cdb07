"""Judges what applications were shown: each event once, in order, without a hole, and only to members."""

import msgspec

from imserver.protocol.events import Event
from imserver.protocol.names import is_group
from imserver.protocol.server_frames import AHEAD, RESTORED, RETENTION
from tests.simulation.history import Heard, Hole, Life, Seen
from tests.simulation.trace import Trace
from tests.simulation.truth import Place, Truth, Version


class ShownJudge:
    """What the lives of all robots were shown, and what follows from it."""

    def __init__(self, truth: Truth, trace: Trace) -> None:
        self._truth = truth
        self._trace = trace

    def judge(self, life: Life) -> None:
        """Note every promise that was broken to one life."""
        expected: dict[str, Place] = {}
        for item in life.seen:
            due = expected.get(item.conv)
            if isinstance(item, Hole):
                self._hole(life, item, due)
            else:
                versions = self.check_seen(item, life.name)
                if versions:
                    self._allowed(life, item, versions)
                self._continues(life, item, due)
            expected[item.conv] = Place(item.epoch, item.end.seq + 1)
        self._signals(life)

    def check_seen(self, seen: Seen, where: str) -> list[Version]:
        """Judge an event by itself; return the versions of the log that have it."""
        versions = self._truth.of(seen.epoch)
        stored = [(version, version.event(seen.conv, seen.seq)) for version in versions]
        same = [(v, event) for v, event in stored if event is not None and _is_same(event, seen)]
        if not same:
            others = [event for _, event in stored if event is not None]
            rule = "G3 another event at this place" if others else "G8 seen and lost"
            self._problem(rule, f"{where}: {seen}, stored {others}")
            return []
        moments = [
            self._truth.durable_s(version.epoch, seen.conv, event) for version, event in same
        ]
        durable_s = min((moment for moment in moments if moment is not None), default=None)
        if durable_s is None or seen.at_s < durable_s:
            self._problem("G8 seen before it was durable", f"{where}: {seen}, {durable_s}")
        return [version for version, _ in same]

    def _continues(self, life: Life, seen: Seen, due: Place | None) -> None:
        if due is None:
            self._start(life, seen)
        elif due.epoch != seen.epoch:
            self._problem("G9 an epoch changed unannounced", f"{life.name}: {seen} after {due}")
        elif seen.seq != due.seq:
            rule = "G9 an event twice" if seen.seq < due.seq else "G9 an event skipped"
            self._problem(rule, f"{life.name}: {seen}, due was {due}")

    def _start(self, life: Life, item: Seen | Hole) -> None:
        """A process goes on no later than where its robot is, or where it was added."""
        # A device whose first acks were lost begins where another device of its robot is.
        places = life.robot_before.get(item.conv, [])
        done = self._truth.furthest(item.conv, places, item.epoch)
        first = item.seq if isinstance(item, Seen) else item.first
        if isinstance(item, Hole) and item.why != RETENTION:
            first = item.after + 1
        if first > done + 1 and not self._is_added(life, item, first):
            self._problem("G11 skipped over a restart", f"{life.name}: {item}, processed {places}")

    def _is_added(self, life: Life, item: Seen | Hole, first: int) -> bool:
        """Tell whether a robot was added there, or further on, before it was shown that."""
        for version in self._truth.of(item.epoch):
            for since, _ in version.members.get(item.conv, {}).get(life.robot, []):
                event = version.event(item.conv, since)
                assert event is not None, "somebody was added there"
                added_s = self._truth.durable_s(version.epoch, item.conv, event) or 0.0
                if since >= first and added_s <= item.at_s:
                    return True
        return False

    def _hole(self, life: Life, hole: Hole, due: Place | None) -> None:
        """What is told as missing is missing, for the reason that was told."""
        if due is None:
            self._start(life, hole)
        if hole.why == RETENTION:
            is_true = self._is_let_go(hole, due)
        elif hole.why in (RESTORED, AHEAD):
            is_true = self._is_cut_back(life, hole, due)
        else:
            is_true = self._left(life, hole)
        if not is_true:
            self._problem("G9 a gap for no reason", f"{life.name}: {hole}, due was {due}")

    def _is_let_go(self, hole: Hole, due: Place | None) -> bool:
        if hole.after >= self._truth.highest_floor(hole.conv, hole.at_s):
            return False
        if due is None or due.epoch == hole.epoch:
            return hole.after == hole.last and (due is None or due.seq == hole.first)
        # It is the first that is heard of a new epoch.
        return hole.first <= self._done(hole) + 1

    def _is_cut_back(self, life: Life, hole: Hole, due: Place | None) -> bool:
        is_new = due is None or due.epoch != hole.epoch or hole.conv in self._truth.lost_tails
        is_back = due is None or hole.after < due.seq
        is_near = hole.after <= self._done(hole) or self._is_added(life, hole, hole.after + 1)
        return is_new and is_back and is_near

    def _done(self, hole: Hole) -> int:
        """Return how far the robot was when it was told of a hole, in the log as it goes on."""
        return self._truth.furthest(hole.conv, hole.robot_done, hole.epoch)

    def _left(self, life: Life, hole: Hole) -> bool:
        """Only who was removed may be refused what is missing."""
        spans = [
            span
            for version in self._truth.of(hole.epoch)
            for span in version.members.get(hole.conv, {}).get(life.robot, [])
        ]
        return any(hole.first - 1 <= until <= hole.last for _, until in spans)

    def _allowed(self, life: Life, seen: Seen, versions: list[Version]) -> None:
        if not is_group(seen.conv):
            if life.robot not in seen.conv.split("/"):
                self._problem("G13 a stranger's line", f"{life.name}: {seen}")
            return
        if not any(self._was_member(life.robot, seen, version) for version in versions):
            spans = [version.members.get(seen.conv, {}).get(life.robot) for version in versions]
            rule = "G13 delivered to one who is no member"
            self._problem(rule, f"{life.name}: {seen}, {spans}")

    def _was_member(self, robot: str, seen: Seen, version: Version) -> bool:
        """Tell whether a robot belonged to a group up to an event, or was added again by then."""
        for since, until in version.members.get(seen.conv, {}).get(robot, []):
            event = version.event(seen.conv, since)
            assert event is not None, "somebody was added there"
            added_s = self._truth.durable_s(version.epoch, seen.conv, event) or 0.0
            if seen.seq <= until and added_s <= seen.at_s:
                return True
        return False

    def _signals(self, life: Life) -> None:
        last: dict[tuple[str, str, str], Heard] = {}
        for heard in life.heard:
            key = (heard.conv, heard.sender, heard.key)
            if key in last and heard.value <= last[key].value:
                self._problem("signals go back", f"{life.name}: {heard} after {last[key]}")
            last[key] = heard
            spans = [
                span
                for version in self._truth.versions
                for span in version.members.get(heard.conv, {}).get(life.robot, [])
            ]
            if not spans:
                self._problem("G13 a signal to one who was never a member", f"{life.name}: {heard}")

    def _problem(self, rule: str, story: str) -> None:
        self._trace.problem(rule, story)


def _is_same(event: Event, seen: Seen) -> bool:
    told = (seen.sender, seen.cid, seen.kind, seen.ref)
    if (event.sender, event.cid, event.kind, event.ref) != told:
        return False
    return bool(msgspec.msgpack.decode(event.body) == seen.body)
