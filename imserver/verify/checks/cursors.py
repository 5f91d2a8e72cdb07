"""Cursors (G12): what a client acks lies within what it was shown and does not go back within a session; what
the server says it has stored does not go back at all; and what the store holds is neither behind that, nor
beyond what the device was shown."""

import itertools
from typing import NamedTuple

from imserver.verify.findings import Findings, LogPlace, Witness
from imserver.verify.guarantees import Guarantee
from imserver.verify.logs import Logs
from imserver.verify.records import Ack
from imserver.verify.sessions import Session


class _Report(NamedTuple):
    clock: str
    t: float
    where: int
    seq: int


class Cursors:
    """Takes in acks, and what the server says of them."""

    def __init__(self, logs: Logs, findings: Findings) -> None:
        self._logs = logs
        self._findings = findings
        self._reports: dict[tuple[str, str, str], list[_Report]] = {}

    def on_ack(self, session: Session, record: Ack, place: int) -> None:
        """Take in a cursor."""
        self._findings.checked[Guarantee.G12] += 1
        if record.type == "ok":
            key = (session.client, session.device, record.conv)
            report = _Report(session.clock, record.t, place, record.seq)
            self._reports.setdefault(key, []).append(report)
            return
        run = session.runs.get(record.conv)
        top = run.top if run is not None else 0
        if record.seq > top:
            self._findings.add(
                Guarantee.G12,
                f"{session} acked {record.conv} {record.seq}, but was shown nothing beyond {top}",
                run.last_place() if run is not None else session.opened,
                place,
            )
        elif run is not None and record.seq < run.acked:
            self._findings.add(
                Guarantee.G12,
                f"{session} acked {record.conv} {record.seq} after {run.acked}",
                place,
            )
        if run is not None:
            run.acked = max(run.acked, record.seq)

    def finish(self, sessions: list[Session]) -> None:
        """Judge what the server said, and what it stored."""
        for key, reports in self._reports.items():
            reports.sort()
            self._check_reports(key, reports)
        if self._logs.cursors is not None:
            openings = {(session.client, session.device): session.opened for session in sessions}
            self._check_stored(_shown(sessions), openings)

    def _check_reports(self, key: tuple[str, str, str], reports: list[_Report]) -> None:
        robot, device, conv = key
        if len(self._logs.all_of(conv)) > 1:
            return  # restored in between: cursors begin anew
        for before, after in itertools.pairwise(reports):
            if before.clock == after.clock and before.seq > after.seq:
                self._add(
                    f"the cursor of {robot}/{device} in {conv} went back from {before.seq} to "
                    f"{after.seq}",
                    before.where,
                    after.where,
                )
        for log in self._logs.all_of(conv)[:1]:
            highest = max(reports, key=lambda report: report.seq)
            if log.is_raw and highest.seq > log.head:
                self._add(
                    f"the cursor of {robot}/{device} was at {conv} {highest.seq}, and the head is "
                    f"{log.head}",
                    highest.where,
                )

    def _check_stored(
        self,
        shown: dict[tuple[str, str, str], tuple[int, int]],
        openings: dict[tuple[str, str], int],
    ) -> None:
        stored = self._logs.cursors or {}
        for key, reports in self._reports.items():
            highest = max(reports, key=lambda report: report.seq)
            if len(self._logs.all_of(key[2])) == 1 and stored.get(key, 0) < highest.seq:
                self._add(
                    f"the cursor of {key[0]}/{key[1]} in {key[2]} was said to be {highest.seq}, "
                    f"but the store has {stored.get(key, 0)}",
                    highest.where,
                )
        for (robot, device, conv), seq in stored.items():
            self._findings.checked[Guarantee.G12] += 1
            log = self._logs.of(conv, "")
            nothing = (0, openings.get((robot, device), -1))
            top, place = shown.get((robot, device, conv), nothing)
            if seq > log.head:
                self._add(
                    f"the stored cursor of {robot}/{device} is at {conv} {seq}, and the head is "
                    f"{log.head}",
                    LogPlace(conv, log.head, log.entries.get(log.head)),
                )
            elif place != -1 and seq > top:
                self._add(
                    f"the stored cursor of {robot}/{device} is at {conv} {seq}, but the device was "
                    f"shown nothing beyond {top}",
                    place,
                    LogPlace(conv, seq, log.entries.get(seq)),
                )

    def _add(self, sentence: str, *witnesses: Witness) -> None:
        self._findings.add(Guarantee.G12, sentence, *witnesses)


def _shown(sessions: list[Session]) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Return for each (robot, device, conv) the highest seq it was shown, and a record that tells."""
    shown: dict[tuple[str, str, str], tuple[int, int]] = {}
    for session in sessions:
        for conv, run in session.all_runs():
            key = (session.client, session.device, conv)
            place = run.last_place() if run.places else session.opened
            shown[key] = max(shown.get(key, (0, -1)), (run.top, place))
    return shown
