"""Judges a run by its history and the truth: the promises G1 to G14 and G22, each in about linear time.

Here stands what concerns sends and the logs themselves. What applications were shown is judged in `shown`,
pages of history in `pages`, the frames of each connection in `watch`, convergence in `world`.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from imserver.protocol.events import SERVER_KINDS, Event
from imserver.protocol.names import is_group
from tests.simulation.history import REFUSED, STORED, Attempt, History, Send
from tests.simulation.society import Witness
from tests.simulation.trace import Trace
from tests.simulation.truth import Truth, Version

STORED_ANEW = "cids stored anew after their event was let go"


class Judge:
    """One run's evidence about sends, and what follows from it.

    ``refused`` are the cids of sends that the server refused at least once.
    """

    def __init__(self, history: History, truth: Truth, trace: Trace, *, refused: set[str]) -> None:
        self._history = history
        self._truth = truth
        self._trace = trace
        self._refused = refused
        self._sends = {(send.conv, send.robot, send.cid): send for send in history.sends}

    def judge(self, witnesses: Iterable[Witness]) -> None:
        """Note every promise that was broken."""
        for version in self._truth.versions:
            self._numbers(version)
        for version in self._truth.newest():
            self._cids(version)
            self._real_time(version)
        for send in self._history.sends:
            self._send(send)
        self._pipelines()
        for witness in witnesses:
            self._heed(witness)

    def _numbers(self, version: Version) -> None:
        for conv, log in version.logs.items():
            if [event.seq for event in log] != list(range(1, len(log) + 1)):
                self._problem("G2 the log has holes", f"{conv}: {[event.seq for event in log]}")

    def _cids(self, version: Version) -> None:
        for conv, log in version.logs.items():
            known: dict[tuple[str, str], int] = {}
            inherited = self._truth.kept.get(version.epoch, {}).get(conv, 0)
            for event in log:
                earlier = known.get((event.sender, event.cid))
                known[event.sender, event.cid] = event.seq
                is_again = earlier is not None and event.seq > inherited
                if is_again and not self._was_let_go(version, conv, earlier or 0, event):
                    self._problem("G4 stored twice", f"{conv} {earlier} and {event.seq}: {event}")
                if event.kind not in SERVER_KINDS:
                    send = self._sends.get((conv, event.sender, event.cid))
                    self._origin(version, conv, event, send)

    def _was_let_go(self, version: Version, conv: str, earlier: int, event: Event) -> bool:
        """Tell whether an event was no longer kept when its cid was stored once more.

        What was still being written when a process was stopped for good was durable only at its epoch's end.
        """
        stored_s = self._truth.durable_s(version.epoch, conv, event)
        floor = version.floors[conv] if stored_s is None else self._truth.floor(conv, stored_s)
        was_let_go = floor > earlier
        self._trace.counts[STORED_ANEW] += was_let_go
        return was_let_go

    def _origin(self, version: Version, conv: str, event: Event, send: Send | None) -> None:
        if send is None or msgspec.msgpack.decode(event.body) != send.body:
            self._problem("G7, G22 nobody sent this", f"{conv}: {event}")
            return
        known = version.members[conv].get(event.sender, [])
        if is_group(conv) and not any(since < event.seq <= until for since, until in known):
            self._problem("G13 sent by one who was no member", f"{conv}: {event}, {known}")
        durable_s = self._truth.durable_s(version.epoch, conv, event) or 0.0
        before = [attempt for attempt in send.attempts if attempt.began_s <= durable_s]
        if before and all(attempt.outcome == REFUSED for attempt in before):
            self._problem("G7 told as refused, and stored", f"{send} at {event.seq}: {before}")

    def _send(self, send: Send) -> None:
        by_epoch: dict[str, set[int]] = {}
        for attempt in send.attempts:
            if attempt.ended_s is not None and attempt.ended_s > attempt.late_s:
                self._problem("G14 answered too late", f"{send}: {attempt}")
            if attempt.outcome == STORED:
                self._stored(send, attempt)
                by_epoch.setdefault(attempt.epoch, set()).add(attempt.seq)
        for epoch, places in by_epoch.items():
            kept = {seq for seq in places if self._is_kept(send, epoch, seq)}
            if len(kept) > 1:
                self._problem("G4 acked at two places", f"{send}: {sorted(kept)} of {epoch}")

    def _stored(self, send: Send, attempt: Attempt) -> None:
        for version in self._truth.of(attempt.epoch):
            event = version.event(send.conv, attempt.seq)
            if event is not None and (event.sender, event.cid) == (send.robot, send.cid):
                return
        self._problem("G1 acked and lost", f"{send}: {attempt}")

    def _is_kept(self, send: Send, epoch: str, seq: int) -> bool:
        """Tell whether an acked event was neither lost with its tail nor let go before the end."""
        event = self._truth.of(epoch)[0].event(send.conv, seq)
        is_there = event is not None and event.cid == send.cid
        return is_there and self._truth.highest_floor(send.conv, float("inf")) <= seq

    def _real_time(self, version: Version) -> None:
        """What was acked before another send began has a lower seq."""
        by_conv: dict[str, list[tuple[float, int, int, Send]]] = {}
        for send in self._history.sends:
            acked = [
                attempt
                for attempt in send.attempts
                if attempt.outcome == STORED
                and attempt.epoch == version.epoch
                and self._is_kept(send, attempt.epoch, attempt.seq)
            ]
            if acked:
                moments = by_conv.setdefault(send.conv, [])
                first_ack_s = min(attempt.ended_s or 0.0 for attempt in acked)
                moments.append((send.attempts[0].began_s, 0, acked[0].seq, send))
                moments.append((first_ack_s, 1, acked[0].seq, send))
        for moments in by_conv.values():
            highest = 0
            for _, is_end, seq, send in sorted(moments, key=lambda moment: moment[:3]):
                if is_end:
                    highest = max(highest, seq)
                elif seq < highest:
                    self._problem("G5 order against real time", f"{send}: {seq} after {highest}")

    def _pipelines(self) -> None:
        """What one life wrote stands in the order of writing, unless a refusal made it be written again."""
        if len(self._truth.versions) > 1 or self._trace.counts[STORED_ANEW]:
            return
        lives = Counter(
            cid for life in self._history.lives for cids in life.written.values() for cid in cids
        )
        for life in self._history.lives:
            for conv, written in life.written.items():
                cids = [cid for cid in written if lives[cid] == 1]
                self._pipeline([self._sends.get((conv, life.robot, cid)) for cid in cids])

    def _pipeline(self, sends: list[Send | None]) -> None:
        version = self._truth.versions[-1]
        highest = highest_refused = 0
        for send in sends:
            if send is None or len(send.attempts) > 1:
                continue  # it was given up and asked again
            log = version.logs.get(send.conv, [])
            seq = next((event.seq for event in log if event.cid == send.cid), None)
            if seq is None:
                continue
            if send.cid in self._refused:
                highest_refused = max(highest_refused, seq)
                continue
            overtakes = highest < seq < highest_refused
            self._trace.counts["pipelined sends overtaken after a refusal"] += overtakes
            if seq < highest:
                self._problem("G6 overtaken without a refusal", f"{send}: {seq} after {highest}")
            highest = max(highest, seq)

    def _heed(self, witness: Witness) -> None:
        """A seq that a robot has shown to be lost is not given again while the store knows of it."""
        forgotten_s = [lost_s for lost_s in self._truth.lost_at_s if lost_s > witness.at_s]
        until_s = min(forgotten_s, default=float("inf"))
        log = self._truth.of(witness.epoch)[0].logs.get(witness.conv, [])
        for event in log[witness.head : witness.seen]:
            stored_s = self._truth.durable_s(witness.epoch, witness.conv, event)
            if stored_s is not None and witness.at_s < stored_s < until_s:
                self._problem("G3 a lost seq is given again", f"{witness}: {event}")

    def _problem(self, rule: str, story: str) -> None:
        self._trace.problem(rule, story)
