"""Puts events into the logs, inside a transaction of the writer.

How it goes. Events of a call are taken in order and collected into runs; a run goes into the table with one
statement per chunk of up to 256 rows, each row with the next seq of its conversation. No cid is looked up
beforehand: the unique index finds the rare one that is stored already, the statement stops there with the
rows before it in place, the first event is read and answered, and the rest goes on, first singly and then in
growing chunks, so that a batch of nothing but duplicates costs no more than looking each up. An event that
changes a membership goes by itself, because it counts only if it was not stored before.

Heads are derived state: the truth is the largest key in the table. `LogAppender.forget` drops them, and the
writer calls it whenever a transaction did not commit.
"""

from collections.abc import Sequence
from typing import Final

import apsw
from msgspec import Raw, json

from imserver.core.model import (
    Added,
    Append,
    Created,
    Cursor,
    Deleted,
    MembershipChange,
    Mismatch,
    Missing,
    Outcome,
    Removed,
    Stored,
    Taken,
)
from imserver.data.sqlite_file import SEQ_BITS, extended_code
from imserver.data.sqlite_statements import load_statements
from imserver.protocol.events import Event, Role
from imserver.protocol.names import ConversationName, RobotName, direct_members, is_group

_SQL: Final = load_statements("sqlite_writes.sql")
_ANY_ROWS_MAX: Final = 64
_ROWS: Final = (*range(1, _ANY_ROWS_MAX + 1), 128, 256)
_ADD_EVENTS: Final = {
    rows: _SQL["add_events"] + " " + ", ".join(["(?,?,?,?,?,?,?)"] * rows) for rows in _ROWS
}
_LOGS_MAX: Final = 100_000

STATEMENTS: Final = len(_ROWS) + len(_SQL)
"""How many statements a connection should keep prepared."""


class _Log:
    """A conversation as the next event finds it."""

    __slots__ = ("base", "deleted", "epoch", "head", "id")

    def __init__(self, id: int, *, epoch: str, deleted: bool, head: int) -> None:  # noqa: A002
        self.id = id
        self.base = id << SEQ_BITS
        self.epoch = epoch
        self.deleted = deleted
        self.head = head


class LogAppender:
    """Appends events and moves cursors on the writer's connection; the caller begins and commits."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._epoch: str = db.execute(_SQL["meta"], ("epoch",)).get
        self._logs: dict[ConversationName, _Log] = {}

    def forget(self) -> None:
        """Drop what is remembered of the logs, to be read again from the database."""
        self._logs.clear()

    def append(self, events: Sequence[Append]) -> list[Outcome]:
        """Store events as `EventLog.append` promises, except for the commit."""
        outcomes: list[Outcome] = []
        run: list[tuple[_Log, Append]] = []
        for event in events:
            log = self._logs.get(event.conv) or self._find_or_open(event)
            if log is not None and event.change is None and not log.deleted:
                run.append((log, event))
                continue
            self._store_run(run, outcomes)
            run.clear()
            outcomes.append(self._store_singly(log, event))
        self._store_run(run, outcomes)
        return outcomes

    def move_cursors(self, cursors: Sequence[Cursor]) -> None:
        """Move cursors as `EventLog.append` promises, except for the commit."""
        rows = []
        for cursor in cursors:
            log = self._logs.get(cursor.conv) or self._find(cursor.conv)
            if log is not None and 0 <= cursor.seq <= log.head:
                rows.append((log.id, cursor.robot, cursor.device, cursor.seq))
        if rows:
            self._db.execute(_SQL["move_cursors"], (_json(rows),))

    def _find(self, conv: ConversationName) -> _Log | None:
        row = self._db.execute(_SQL["log"], (conv,)).fetchone()
        if row is None:
            return None
        found, epoch, deleted, head = row
        return self._remember(conv, _Log(found, epoch=epoch, deleted=bool(deleted), head=head))

    def _find_or_open(self, event: Append) -> _Log | None:
        log = self._find(event.conv)
        if log is None and event.change is None and not is_group(event.conv):
            log = self._open(event, is_open=False)
            self._put_members(log, dict.fromkeys(direct_members(event.conv), Role.MEMBER), since=1)
        return log

    def _open(self, first: Append, *, is_open: bool) -> _Log:
        row = (first.conv, self._epoch, int(is_open), first.ts)
        self._db.execute(_SQL["add_conversation"], row)
        log = _Log(self._db.last_insert_rowid(), epoch=self._epoch, deleted=False, head=0)
        return self._remember(first.conv, log)

    def _remember(self, conv: ConversationName, log: _Log) -> _Log:
        self._logs[conv] = log
        return log

    def _store_run(self, run: list[tuple[_Log, Append]], outcomes: list[Outcome]) -> None:
        start, rows_max = 0, _ROWS[-1]
        while start < len(run):
            rows = _chunk_rows(min(rows_max, len(run) - start))
            stored = self._insert(run[start : start + rows], outcomes)
            start += stored
            rows_max = min(rows_max * 2, _ROWS[-1])
            if stored < rows:
                outcomes.append(self._stored_first(*run[start]))
                start += 1
                rows_max = 1

    def _insert(self, chunk: list[tuple[_Log, Append]], outcomes: list[Outcome]) -> int:
        """Insert rows up to the first whose cid is stored already; return how many went in."""
        row_values: list[object] = []
        stored: list[Outcome] = []
        for log, event in chunk:
            log.head = seq = log.head + 1
            body = event.body
            row_values += (
                log.base + seq, event.ts, event.sender, event.cid, event.kind, event.ref, body
            )  # fmt: skip
            entry = Event(
                seq, event.ts, event.sender, event.cid, event.kind, Raw(body), event.ref
            )  # fmt: skip
            stored.append(Stored(log.epoch, entry, False))  # noqa: FBT003 - a field, not a switch
        try:
            self._db.execute(_ADD_EVENTS[len(chunk)], row_values)
        except apsw.ConstraintError as exc:
            if extended_code(exc) != apsw.SQLITE_CONSTRAINT_UNIQUE:
                raise
            rows = self._db.changes()
            for log, _ in chunk[rows:]:
                log.head -= 1
            del stored[rows:]
        outcomes += stored
        return len(stored)

    def _stored_first(self, log: _Log, event: Append) -> Outcome:
        first = self._first_of_cid(log, event)
        if first is None:
            raise AssertionError("the index refused a cid that is not stored; run `imserver check`")
        return first

    def _first_of_cid(self, log: _Log, event: Append) -> Outcome | None:
        row = self._db.execute(_SQL["first_of_cid"], (event.sender, event.cid, log.id)).fetchone()
        if row is None:
            return None
        seq, ts, kind, ref, body = row
        if (kind, ref, body) != (event.kind, event.ref, event.body):
            return Mismatch(seq)
        first = Event(seq, ts, event.sender, event.cid, kind, Raw(body), ref)
        return Stored(log.epoch, first, dup=True)

    def _store_singly(self, log: _Log | None, event: Append) -> Outcome:
        change = event.change
        if log is None:
            if not isinstance(change, Created):
                return Missing()
            log = self._open(event, is_open=change.open)
        else:
            first = self._first_of_cid(log, event)
            if first is not None:
                return first
            if isinstance(change, Created):
                return Taken()
            if log.deleted:
                return Missing()
        outcomes: list[Outcome] = []
        self._insert([(log, event)], outcomes)
        if change is not None:
            self._apply(log, change)
        return outcomes[0]

    def _apply(self, log: _Log, change: MembershipChange) -> None:
        match change:
            case Created():
                self._put_members(log, change.members, since=log.head)
            case Added():
                self._put_members(log, dict.fromkeys(change.robots, change.role), since=log.head)
            case Removed():
                self._db.execute(_SQL["remove_members"], (log.id, _json(change.robots)))
            case Deleted():
                self._db.execute(_SQL["end_conversation"], (log.id,))
                self._db.execute(_SQL["remove_all_members"], (log.id,))
                log.deleted = True

    def _put_members(self, log: _Log, members: dict[RobotName, Role], *, since: int) -> None:
        self._db.execute(_SQL["put_members"], (log.id, _json(members), since))

    def trim(self) -> None:
        """Forget the logs when there are too many of them; between transactions."""
        if len(self._logs) > _LOGS_MAX:
            self._logs.clear()


def _chunk_rows(rows: int) -> int:
    """Return the largest number of rows, up to ``rows``, that there is a statement for."""
    if rows <= _ANY_ROWS_MAX:
        return rows
    return max(size for size in (_ANY_ROWS_MAX, 128, 256) if size <= rows)


def _json(rows: object) -> str:
    return json.encode(rows).decode()
