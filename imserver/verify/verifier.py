"""Reads histories once, hands every record to the checks, and makes the report.

Time is linear in the records and events (n log n for the order of time), memory some hundred bytes for each
send and each event of the log.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from imserver.verify.checks.changes import Changes
from imserver.verify.checks.cursors import Cursors
from imserver.verify.checks.delivery import Deliveries
from imserver.verify.checks.log import check_logs
from imserver.verify.checks.order import check_pipelines
from imserver.verify.checks.sends import Sends
from imserver.verify.checks.settlement import Settlement
from imserver.verify.checks.values import Values
from imserver.verify.findings import Findings, where
from imserver.verify.history import HistoryReader, HistoryUnusable, history_files
from imserver.verify.logs import Logs
from imserver.verify.raw_log import no_log
from imserver.verify.records import (
    Ack,
    Change,
    Follow,
    Gap,
    Join,
    Leave,
    Read,
    Receive,
    Record,
    Send,
    SessionClose,
    SessionOpen,
)
from imserver.verify.report import Report, report_of
from imserver.verify.sessions import Session


def verify(histories: Sequence[Path], logs: Logs | None = None) -> Report:
    """Return what the histories of all clients say of the server. Blocks.

    Args:
        histories: files, or directories of files that end in ``.jsonl``; every client's whole history.
        logs: the raw log (see `raw_log`); None to judge by what the clients saw of each other.

    Raises:
        HistoryUnusable: a history cannot be judged: damaged, incomplete, or empty of anything to judge.
    """
    files = history_files(list(histories))
    verifier = Verifier(logs if logs is not None else no_log())
    for path in files:
        verifier.read(path)
    return verifier.report()


class Verifier:
    """One verification: `read` each file, then `report`."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._files: list[Path] = []
        self._sessions: list[Session] = []
        self._open: dict[tuple[str, str], Session] = {}
        self._known: set[tuple[str, str]] = set()
        self._findings = Findings()
        self._values = Values(self._findings)
        self._sends = Sends(logs, self._values, self._findings)
        self._changes = Changes(logs, self._findings)
        self._deliveries = Deliveries(logs, self._findings)
        self._cursors = Cursors(logs, self._findings)
        self._records = 0
        self._observations = 0
        changed = self._changes.on_change
        self._handlers: Final[dict[type[Record], Callable[[Session, Any, int], object]]] = {
            SessionClose: self._close,
            Send: self._sends.on_send,
            Change: changed,
            Join: changed,
            Leave: changed,
            Receive: self._receive,
            Read: self._read_event,
            Gap: self._deliveries.on_gap,
            Ack: self._cursors.on_ack,
            Follow: self._follow,
        }

    def read(self, path: Path) -> None:
        """Take in a file.

        Raises:
            HistoryUnusable: it is damaged, or its records do not fit together.
        """
        number = len(self._files)
        self._files.append(path)
        reader = HistoryReader(path)
        for line, record in reader:
            place = where(number, line)
            if type(record) is SessionOpen:
                self._begin(path, line, record, place=place)
                continue
            session = self._open.get((record.client, record.session))
            if session is None:
                raise HistoryUnusable(
                    f"{path}:{line} is of session {record.session!r} of {record.client!r}, which has "
                    "no session_open before it in this file, or was closed"
                )
            if record.t < session.last_s:
                raise HistoryUnusable(
                    f"{path}:{line} has t {record.t}, and the record before it in its session "
                    f"{session.last_s}: take t from a monotonic clock and write records as they happen"
                )
            session.last_s = record.t
            self._handlers[type(record)](session, record, place)
        for session in self._open.values():
            self._sends.on_end(session)
        self._open.clear()
        self._records += reader.records
        if reader.torn_line is not None:
            self._findings.notes[
                f"torn last line, as a killed client leaves it, left out: {path}:{reader.torn_line}"
            ] += 1

    def report(self) -> Report:
        """Judge the rest, and return everything.

        Raises:
            HistoryUnusable: there was nothing to judge.
        """
        if not self._observations and not self._sends.by_conv:
            raise HistoryUnusable(
                f"{len(self._files)} histories with {self._records} records hold no send and no "
                "received event: there is nothing to judge"
            )
        check_logs(self._logs, self._findings)
        self._values.finish()
        self._changes.finish()
        self._deliveries.finish(self._sessions)
        self._cursors.finish(self._sessions)
        check_pipelines(self._sessions, self._findings)
        Settlement(
            self._logs,
            self._sends.by_conv,
            self._findings,
            recorded={session.client for session in self._sessions},
            admins={session.client for session in self._sessions if session.admin},
        ).settle()
        return report_of(
            self._findings,
            self._logs,
            self._files,
            sessions=len(self._sessions),
            records=self._records,
        )

    def _begin(self, path: Path, line: int, record: SessionOpen, *, place: int) -> None:
        key = (record.client, record.session)
        if key in self._known:
            raise HistoryUnusable(
                f"{path}:{line} opens session {record.session!r} of {record.client!r} a second time: "
                "give each life of a client a session of its own"
            )
        self._known.add(key)
        session = Session(record, place)
        self._sessions.append(session)
        self._open[key] = session
        self._deliveries.on_open(session)

    def _close(self, session: Session, record: SessionClose, place: int) -> None:
        session.closed = place
        session.drained = record.drained
        self._sends.on_end(session)
        del self._open[session.client, session.name]

    def _receive(self, session: Session, record: Receive, place: int) -> None:
        self._observations += 1
        run = self._deliveries.on_receive(session, record, place)
        assert run.log is not None, "an event tells its epoch"
        self._values.on_event(session, run.log, record, place, until=run.until)

    def _read_event(self, session: Session, record: Read, place: int) -> None:
        self._observations += 1
        log = self._logs.of(record.conv, record.epoch)
        until = log.member_until(session.client)
        self._values.on_event(session, log, record, place, until=until)

    def _follow(self, session: Session, record: Follow, _place: int) -> None:
        self._deliveries.on_follow(session, record)
