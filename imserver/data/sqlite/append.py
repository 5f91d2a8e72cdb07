"""Puts events into the logs, inside a transaction of the writer.

How it goes. Each event gets the next seq of its conversation, and all of a call go into the table with one
statement. No cid is looked up beforehand: nearly none is stored already, and the unique index finds those
that are. When it does, everything is undone, `RepeatedCid` is raised, and the writer calls again with
``check_first``: then the events of all cids are fetched with one query and answered from there.

A call of plain events of known conversations needs no BEGIN and COMMIT: `LogAppender.plain_run` says whether
it is one, and its one INSERT is a transaction by itself. That matters because each statement gives the
interpreter lock away, and beside a busy event loop getting it back takes longer than the work.

Where bodies are sealed, that is done here: every event knows its seq, and the event loop is not held up.

An event that changes a membership, or refers to a file, goes by itself, because that counts only if the event
was not stored before. Heads are derived state: the truth is the largest key in the table.
`LogAppender.forget` drops them, and the writer calls it whenever a transaction did not commit.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import apsw
import msgspec
from msgspec import Raw

from imserver.core.errors import SealBroken
from imserver.core.model import (
    Added,
    Append,
    Created,
    Cursor,
    Deleted,
    Halted,
    MembershipChange,
    Mismatch,
    Missing,
    Outcome,
    Recall,
    Refers,
    Removed,
    Stored,
    Taken,
)
from imserver.data.sealing import EventSeal, key_number
from imserver.data.sqlite.file import SEQ_BITS, extended_code
from imserver.data.sqlite.rows import (
    amends,
    as_sealed,
    encode_json,
    opened,
    pack,
    pack_sealed,
    unpack_all,
)
from imserver.data.sqlite.statements import load_statements
from imserver.protocol.bodies import is_same
from imserver.protocol.events import Event, Role
from imserver.protocol.names import ConversationName, RobotName, direct_members, is_group

Run: TypeAlias = list[tuple["Log", Append]]
"""Plain events, each with the log it goes to."""

_SQL: Final = load_statements(__package__, "writes.sql")
_ANY_ROWS_MAX: Final = 128
_ROWS: Final = (*range(1, _ANY_ROWS_MAX + 1), 256)
_Values: TypeAlias = list[str | int | bytes | None]
_LOGS_MAX: Final = 100_000
_log: Final = logging.getLogger(__name__)
_cids: Final = msgspec.json.Decoder(list[tuple[int, str, str]]).decode

STATEMENTS: Final = len(_ROWS) + len(_SQL)
"""How many statements a connection should keep prepared."""


class _Form(NamedTuple):
    """How rows are bound: what each of them takes, and the statement for each number of rows."""

    values_a_row: int
    statements: dict[int, str]


def _form(name: str, values_a_row: int) -> _Form:
    row = f"({','.join('?' * values_a_row)})"
    return _Form(values_a_row, {rows: f"{_SQL[name]} {', '.join([row] * rows)}" for rows in _ROWS})


_PLAIN: Final = _form("add_events", 6)
_SEALED: Final = _form("add_sealed_events", 7)


class RepeatedCid(Exception):
    """A cid is stored already; nothing of the transaction is left."""


class Log:
    """A conversation as the next event finds it."""

    __slots__ = ("base", "epoch", "head", "id", "refusal")

    def __init__(self, id: int, *, epoch: str, head: int) -> None:  # noqa: A002
        self.id = id
        self.base = id << SEQ_BITS
        self.epoch = epoch
        self.head = head
        self.refusal: Missing | Halted | None = None


class LogAppender:
    """Appends events and moves cursors on the writer's connection; the caller begins and commits."""

    def __init__(self, db: apsw.Connection, seal: EventSeal | None) -> None:
        self._db = db
        self._seal = seal
        self._form = _PLAIN if seal is None else _SEALED
        self._epoch: str = db.execute(_SQL["meta"], ("epoch",)).get
        self._logs: dict[ConversationName, Log] = {}

    def forget(self) -> None:
        """Drop what is remembered of the logs, to be read again from the database."""
        self._logs.clear()

    def plain_run(self, events: Sequence[Append]) -> Run | None:
        """Return the events as a run for `add`, or None if they need more than one statement."""
        if len(events) not in _ROWS:
            return None
        run: Run = []
        for event in events:
            log = self._logs.get(event.conv)
            if log is None or log.refusal is not None or event.change is not None:
                return None
            run.append((log, event))
        return run

    def append(self, events: Sequence[Append], *, check_first: bool) -> list[Outcome]:
        """Store events as `EventLog.append` promises, except for the commit.

        Raises:
            RepeatedCid: only without ``check_first``.
        """
        outcomes: list[Outcome] = []
        run: Run = []
        for event in events:
            log = self._logs.get(event.conv) or self._find_or_open(event)
            if log is not None and event.change is None and log.refusal is None:
                run.append((log, event))
                continue
            outcomes += self.add(run, check_first=check_first)
            run.clear()
            outcomes.append(self._add_singly(log, event))
        outcomes += self.add(run, check_first=check_first)
        return outcomes

    def add(self, run: Run, *, check_first: bool = False) -> list[Outcome]:
        """Store plain events.

        Raises:
            RepeatedCid: only without ``check_first``.
        """
        stored = self._stored_already(run) if check_first else {}
        outcomes: list[Outcome] = []
        values: _Values = []
        for log, event in run:
            if check_first:
                first = stored.get((log.id, event.sender, event.cid))
                if first is not None:
                    outcomes.append(_repeated(log, event, first))
                    continue
            log.head = seq = log.head + 1
            sender, cid, kind, ref, body = (
                event.sender,
                event.cid,
                event.kind,
                event.ref,
                event.body,
            )
            entry = Event(seq, event.ts, sender, cid, kind, Raw(body), ref)
            amended = None if ref is None else amends(kind, ref)
            row = (log.base + seq, sender, cid, amended, len(body))
            if self._seal is None:
                values += (*row, pack(entry))
            else:
                sealed = self._seal.seal(event.conv, entry)
                values += (*row, key_number(sealed), pack_sealed(entry, sealed))
            outcomes.append(Stored(log.epoch, entry, False))  # noqa: FBT003 - a field, not a switch
            if check_first:
                stored[log.id, sender, cid] = entry
        self._insert(values)
        return outcomes

    def move_cursors(self, cursors: Sequence[Cursor]) -> None:
        """Move cursors as `Cursors.move_cursors` promises, except for the commit."""
        rows = []
        for cursor in cursors:
            log = self._logs.get(cursor.conv) or self._find(cursor.conv)
            if log is not None and 0 <= cursor.seq <= log.head:
                rows.append((log.id, cursor.robot, cursor.device, cursor.seq))
        if rows:
            self._db.execute(_SQL["move_cursors"], (encode_json(rows),))

    def _find(self, conv: ConversationName) -> Log | None:
        row = self._db.execute(_SQL["log"], (conv,)).fetchone()
        if row is None:
            return None
        found, epoch, deleted, seen, head = row
        log = Log(found, epoch=epoch, head=head)
        if deleted:
            log.refusal = Missing()
        elif seen is not None:
            log.refusal = Halted(seen)
        return self._remember(conv, log)

    def _find_or_open(self, event: Append) -> Log | None:
        log = self._find(event.conv)
        is_new = event.change is None or isinstance(event.change, Refers)
        if log is None and is_new and not is_group(event.conv):
            log = self._open(event, is_open=False)
            self._put_members(log, dict.fromkeys(direct_members(event.conv), Role.MEMBER), since=1)
        return log

    def _open(self, first: Append, *, is_open: bool) -> Log:
        row = (first.conv, self._epoch, int(is_open), first.ts)
        self._db.execute(_SQL["add_conversation"], row)
        log = Log(self._db.last_insert_rowid(), epoch=self._epoch, head=0)
        return self._remember(first.conv, log)

    def _remember(self, conv: ConversationName, log: Log) -> Log:
        self._logs[conv] = log
        return log

    def _insert(self, values: _Values) -> None:
        values_a_row, statements = self._form
        rows, start = len(values) // values_a_row, 0
        try:
            while start < rows:
                chunk = _chunk_rows(rows - start)
                end = start + chunk
                part = values[start * values_a_row : end * values_a_row]
                self._db.execute(statements[chunk], part)
                start = end
        except apsw.ConstraintError as exc:
            if extended_code(exc) != apsw.SQLITE_CONSTRAINT_UNIQUE:
                raise
            raise RepeatedCid from exc

    def _stored_already(self, run: Run) -> dict[tuple[int, str, str], Event]:
        asked = [(log.id, event.sender, event.cid) for log, event in run]
        row: Any = self._db.execute(_SQL["stored_already"], (encode_json(asked),)).fetchone()
        text, packed = row
        found = _cids(text)
        names = {log.id: event.conv for log, event in run}
        return {
            cid: self._opened(names[cid[0]], event)
            for cid, event in zip(found, unpack_all(len(found), packed), strict=True)
        }

    def _opened(self, conv: ConversationName, event: Event) -> Event:
        """Open a body; one that is damaged stays as it is, so that none that is sent is the same, and nobody
        else's event in the call suffers."""
        try:
            return opened(conv, event, self._seal)
        except SealBroken as exc:
            _log.error("sealing.broken", extra={"reason": str(exc)})
            return as_sealed(event)

    def _add_singly(self, log: Log | None, event: Append) -> Outcome:
        change = event.change
        if log is None:
            if not isinstance(change, Created):
                return Missing()
            log = self._open(event, is_open=change.open)
        else:
            for first in self._stored_already([(log, event)]).values():
                return _repeated(log, event, first)
            if isinstance(change, Created):
                return Taken()
            if isinstance(change, Recall):
                return Missing()
            if log.refusal is not None:
                return log.refusal
        [outcome] = self.add([(log, event)])
        if isinstance(change, MembershipChange):
            self._apply(log, change)
        elif isinstance(change, Refers):
            self._db.execute(_SQL["refer"], (change.file, log.id, log.head))
        return outcome

    def _apply(self, log: Log, change: MembershipChange) -> None:
        match change:
            case Created():
                self._put_members(log, change.members, since=log.head)
            case Added():
                self._put_members(log, dict.fromkeys(change.robots, change.role), since=log.head)
            case Removed():
                self._db.execute(_SQL["remove_members"], (log.id, encode_json(change.robots)))
            case Deleted():
                self._db.execute(_SQL["end_conversation"], (log.id,))
                self._db.execute(_SQL["remove_all_members"], (log.id,))
                log.refusal = Missing()

    def _put_members(self, log: Log, members: dict[RobotName, Role], *, since: int) -> None:
        self._db.execute(_SQL["put_members"], (log.id, encode_json(members), since))

    def trim(self) -> None:
        """Forget the logs when there are too many of them; between transactions."""
        if len(self._logs) > _LOGS_MAX:
            self._logs.clear()


def _chunk_rows(rows: int) -> int:
    """Return the largest number of rows, up to ``rows``, that there is a statement for."""
    return min(rows, _ANY_ROWS_MAX) if rows < _ROWS[-1] else _ROWS[-1]


def _repeated(log: Log, event: Append, first: Event) -> Outcome:
    same = (first.kind, first.ref) == (event.kind, event.ref) and is_same(first.body, event.body)
    return Stored(log.epoch, first, dup=True) if same else Mismatch(first.seq)
