"""What each session was shown: in order, once, without a hole (G9); from where its client left off (G11);
and, when the run ended in peace, to the end (G10).

Within a session every event must be the one behind the last. What may explain another: the client asked to
read from elsewhere (`follow`), it was told of a `gap`, which excuses exactly its range, or it was no member
for a while and goes on with the event that added it again.
"""

from collections.abc import Iterable
from typing import Final

from imserver.core.membership_changes import ADDING_KINDS
from imserver.verify.findings import Findings, Witness, witness_of
from imserver.verify.guarantees import Guarantee
from imserver.verify.logs import FOREVER, ConversationLog, Logs
from imserver.verify.records import Follow, Gap, Receive
from imserver.verify.sessions import Run, Session

RENUMBERED: Final = frozenset({"restored", "ahead"})
"""Gaps behind which the numbers are given again: the store was restored, or has lost its tail."""


class Deliveries:
    """Takes in what sessions are shown."""

    def __init__(self, logs: Logs, findings: Findings) -> None:
        self._logs = logs
        self._findings = findings
        self._shown = 0

    def on_open(self, session: Session) -> None:
        """Take in where a session goes on by its own memory."""
        for conv, position in session.resume.items():
            run = Run("resume", log=None, epoch=None)
            self._attach(session, run, conv, position.epoch)
            run.expect(position.seq + 1, position.seq + 1)
            run.top = run.acked = position.seq
            session.runs[conv] = run

    def on_follow(self, session: Session, record: Follow) -> None:
        """Take in that a session begins a conversation anew, by its own wish."""
        old = session.runs.get(record.conv)
        if old is not None:
            session.past.append((record.conv, old))
        run = Run("follow", log=None, epoch=None)
        run.expect(record.after + 1, record.after + 1)
        run.top = record.after
        session.runs[record.conv] = run

    def on_receive(self, session: Session, record: Receive, place: int) -> Run:
        """Take in an event that was shown; return its run, whose ``log`` is known from here on."""
        self._shown += 1
        run = session.runs.get(record.conv)
        if run is None:
            run = session.runs[record.conv] = Run("cursor", log=None, epoch=None)
        if run.epoch != record.epoch:
            self._epoch_differs(session, run, record, place)
        seq = record.seq
        if not run.low <= seq <= run.due and run.due:
            self._out_of_line(session, run, record, place)
        if run.first == 0:
            run.first, run.begun = seq, run.log
        if seq >= run.low:
            run.low = run.due = seq + 1
        if seq > run.top:
            run.top = seq
        run.seqs.append(seq)
        run.places.append(place)
        return run

    def on_gap(self, session: Session, record: Gap, place: int) -> None:
        """Take in that a range will not come."""
        self._findings.notes["gaps that clients were told of"] += 1
        first, last = record.from_, max(record.from_ - 1, record.to)
        run = session.runs.get(record.conv)
        if run is None:
            run = session.runs[record.conv] = Run("cursor", log=None, epoch=None)
        begins = run.due == 0
        renumbered = record.why in RENUMBERED or run.epoch not in (None, record.epoch)
        if run.due and first > run.due:
            self._findings.add(
                Guarantee.G9,
                f"{session} was told of a gap from {first} on in {record.conv}, but has been shown "
                f"nothing since {run.due - 1}",
                run.last_place(),
                place,
            )
        if run.epoch != record.epoch:
            self._attach(session, run, record.conv, record.epoch)
        if begins:
            run.first, run.begun = first, run.log
        if renumbered or begins:
            run.expect(first, last + 1)
            run.top = first - 1 if renumbered else last
            run.acked = 0
            if record.after is not None:
                run.expect(record.after + 1, record.after + 1)
                run.top = record.after
        else:
            run.expect(run.low, max(run.due, last + 1))
            run.top = max(run.top, last)

    def _attach(self, session: Session, run: Run, conv: str, epoch: str) -> None:
        run.epoch = epoch
        run.log = self._logs.of(conv, epoch)
        run.until = run.log.member_until(session.client)

    def _epoch_differs(self, session: Session, run: Run, record: Receive, place: int) -> None:
        if run.epoch is not None:
            self._findings.add(
                Guarantee.G9,
                f"{session} was shown {record.conv} {record.seq} of epoch {record.epoch} after "
                f"epoch {run.epoch}, without being told of a gap",
                run.last_place(),
                place,
            )
            run.expect(0, 0)
        self._attach(session, run, record.conv, record.epoch)

    def _out_of_line(self, session: Session, run: Run, record: Receive, place: int) -> None:
        conv, seq, due = record.conv, record.seq, run.due
        log = run.log
        assert log is not None, "attached before"
        if seq > due and (
            log.is_rejoin(session.client, due - 1, seq) or self._may_rejoin(log, due - 1, record)
        ):
            return
        guarantee = Guarantee.G9 if run.first else Guarantee.G11
        if seq > due:
            witnesses: list[Witness] = [run.last_place(), place, witness_of(log, due)]
            which = f"{due}" if seq == due + 1 else f"{due} to {seq - 1}"
            said = f"was not shown {conv} {which}, but then {seq}"
            if not run.first:
                said += f", though it goes on from {due - 1} ({run.origin})"
                witnesses[0] = session.opened
        else:
            witnesses = [run.place_of(seq), run.last_place(), place]
            again = "again" if witnesses[0] != -1 else "though it lies behind"
            said = f"was shown {conv} {seq} {again}, after {due - 1}"
        self._findings.add(guarantee, f"{session} {said}", *witnesses)

    def _may_rejoin(self, log: ConversationLog, last: int, record: Receive) -> bool:
        """Tell whether it may have left and come back, where nothing tells who was a member when."""
        if log.members is not None or record.kind not in ADDING_KINDS:
            return False
        self._findings.notes[
            "jumps to the event of a new member, not judged without a raw log"
        ] += 1
        return last in log.entries

    def finish(self, sessions: list[Session]) -> None:
        """Judge beginnings and ends, when all sessions are known."""
        self._findings.checked[Guarantee.G9] += self._shown
        by_place: dict[tuple[str, str], list[tuple[Session, Run]]] = {}
        for session in sessions:
            for conv, run in session.all_runs():
                by_place.setdefault((session.client, conv), []).append((session, run))
        for (client, conv), runs in by_place.items():
            self._check_beginnings(client, conv, runs)
        Endings(self._logs, self._findings).check(sessions)

    def _check_beginnings(self, client: str, conv: str, runs: list[tuple[Session, Run]]) -> None:
        runs.sort(key=lambda item: (item[0].clock, item[0].opened_s))
        tops: dict[str, int] = {}
        for session, run in runs:
            tops[session.clock] = max(tops.get(session.clock, 0), run.top)
        earlier: dict[str, int] = {}
        for session, run in runs:
            elsewhere = (top for clock, top in tops.items() if clock != session.clock)
            before = max(elsewhere, default=0)
            before = max(before, earlier.get(session.clock, 0))
            if run.first:
                self._check_beginning(session, conv, run, before=before)
            earlier[session.clock] = max(earlier.get(session.clock, 0), run.top)

    def _check_beginning(self, session: Session, conv: str, run: Run, *, before: int) -> None:
        log = run.begun
        assert log is not None, "it has a first event"
        if run.origin != "cursor":
            self._findings.checked[Guarantee.G11] += 1
            return  # judged when it came
        joins = log.joins(session.client)
        if not before and not joins:
            return
        self._findings.checked[Guarantee.G11] += 1
        if run.first <= before + 1 or (joins and run.first <= joins[0]) or run.first in joins:
            return
        entry = log.entries.get(run.first)
        if log.members is None and (entry is None or entry.kind in ADDING_KINDS):
            return
        due = before + 1 if before else joins[0]
        self._findings.add(
            Guarantee.G11,
            f"{session} begins {conv} with {run.first}, but its robot was shown nothing since "
            f"{due - 1}"
            if before
            else f"{session} begins {conv} with {run.first}, but it is a member since {due}",
            session.opened,
            run.places[0] if run.places else -1,
            witness_of(log, due),
        )


class Endings:
    """Judges what those have who had time to get everything."""

    def __init__(self, logs: Logs, findings: Findings) -> None:
        self._logs = logs
        self._findings = findings
        self._devices: dict[tuple[str, str, str, str], int] = {}
        self._robots: dict[tuple[str, str, str], int] = {}

    def check(self, sessions: Iterable[Session]) -> None:
        """Judge the sessions that ended as drained."""
        drained: dict[str, list[Session]] = {}
        for session in sessions:
            if session.drained:
                drained.setdefault(session.client, []).append(session)
            for conv, run in session.all_runs():
                if run.log is not None:
                    self._note(session, conv, run.log.epoch, run.top)
        for ended in drained.values():
            for session in ended:
                self._check_session(session)
        for log in self._logs.raw():
            members = [robot for robot in log.members or () if log.member_until(robot) == FOREVER]
            for session in (ended for robot in members for ended in drained.get(robot, ())):
                self._check_auto(session, log)

    def _note(self, session: Session, conv: str, epoch: str, top: int) -> None:
        """Note how far a session came in a log, by the epoch that the log goes under: of one that was read in
        pages it is not known."""
        device = (session.client, session.device, conv, epoch)
        robot = (session.client, conv, epoch)
        self._devices[device] = max(self._devices.get(device, 0), top)
        self._robots[robot] = max(self._robots.get(robot, 0), top)

    def _check_session(self, session: Session) -> None:
        """Judge what a session was shown of, where the members are not known or it followed by itself."""
        for conv, run in session.runs.items():
            log = run.log or self._logs.of(conv, run.epoch or "")
            judged_as_member = log.members is not None and session.auto
            if not judged_as_member and log.member_until(session.client) >= log.head:
                self._check_level(session, log, run.top, run.last_place())

    def _check_auto(self, session: Session, log: ConversationLog) -> None:
        if not session.auto:
            return
        robot, conv = session.client, log.conv
        top = self._devices.get((robot, session.device, conv, log.epoch), 0)
        if not top:
            top = self._robots.get((robot, conv, log.epoch), 0)
        run = session.runs.get(conv)
        self._check_level(session, log, top, run.last_place() if run is not None else -1)

    def _check_level(self, session: Session, log: ConversationLog, top: int, last: int) -> None:
        self._findings.checked[Guarantee.G10] += 1
        if top >= log.head:
            return
        self._findings.add(
            Guarantee.G10,
            f"{session} was drained, but of {log.conv} it was shown nothing beyond {top}, "
            f"and the head is {log.head}",
            last,
            witness_of(log, top + 1),
            session.closed,
        )
