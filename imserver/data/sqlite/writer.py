"""The one writer of an embedded store: transactions, their failures, and checkpoints.

A failure before COMMIT is rolled back and answered `StoreUnavailable`. A failure of COMMIT itself, or of
any fsync, ends writing for good: the kernel may have dropped the pages and report success the next time
(PostgreSQL's "fsyncgate", 2018), so only a new process that reads the file knows what is in it. One failure
of COMMIT is definite all the same: SQLITE_FULL. SQLite reports it when a write into the log file (WAL) came
out short, which is before the frame that makes the transaction valid is whole and before any fsync, and
recovery ignores frames without it. So a full disk refuses writes until there is room, and needs no restart.

Writes are copied from the WAL into the database by this thread alone, between calls: when the WAL has grown
by `_CHECKPOINT_PAGES`, or when no call came for a moment.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import apsw
from msgspec.structs import replace

from imserver.core.acts import Act
from imserver.core.errors import ImserverError, StoreFailed, StoreUnavailable
from imserver.core.model import Append, Cursor, Enrolment, Outcome, RobotRecord
from imserver.data.enrolments import check_enrolment
from imserver.data.sealing import EventSeal
from imserver.data.sqlite.administration import record
from imserver.data.sqlite.append import STATEMENTS, LogAppender, RepeatedCid
from imserver.data.sqlite.file import (
    SEQ_BITS,
    Durability,
    cannot_open,
    extended_code,
    is_damage,
    open_for_writing,
)
from imserver.data.sqlite.statements import load_statements
from imserver.data.sqlite.wal import has_log
from imserver.protocol.names import ConversationName, RobotName

_SQL: Final = load_statements(__package__, "writes.sql")
_CHECKPOINT_PAGES: Final = 4096  # 16 MiB
_UNAVAILABLE: Final = "the store cannot take writes now, and nothing was stored: {}"
_TRIM_BYTES: Final = 1024 * 1024
_IDLE_S: Final = 0.5
_LAST_WORDS_S: Final = 0.2
_DAY_MS: Final = 86_400_000
_DEFINITE: Final = (
    apsw.FullError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    apsw.BindingsError,
)
"""Errors of a statement that commits by itself after which nothing of it is stored."""
_log: Final = logging.getLogger(__name__)
R = TypeVar("R")


class StoreHealth:
    """Whether a commit or an fsync failed; shared by a store's threads. Set once, never back."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self._tell: Callable[[], object] | None = None

    def fail(self, failure: str) -> None:
        """Take in that one did; called by the writer's thread."""
        self.failure = failure
        if self._tell is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._tell()

    async def watch(self) -> NoReturn:
        """Wait until one did, whoever asked for it, and a moment longer, in which who waits for it is told.

        Raises:
            StoreFailed: one did, and which; the process must end.
        """
        failed = asyncio.Event()
        self._tell = partial(asyncio.get_running_loop().call_soon_threadsafe, failed.set)
        if self.failure is None:
            await failed.wait()
        await asyncio.sleep(_LAST_WORDS_S)
        raise StoreFailed(self.failure or "")

    def check(self) -> None:
        """Return if none did.

        Raises:
            StoreFailed: one did, and which.
        """
        if self.failure is not None:
            raise StoreFailed(self.failure)


class Writer:
    """The writing half of a store, for its one thread. Methods are as in the ports, without the waiting."""

    def __init__(
        self,
        path: Path,
        durability: Durability,
        health: StoreHealth,
        seal: EventSeal | None = None,
    ) -> None:
        self._health = health
        self._path = path
        self._in_doubt = has_log(path)
        self._db = open_for_writing(path, durability, statements=STATEMENTS)
        self._seal = seal
        self._appender = LogAppender(self._db, seal)
        if seal is not None:
            self._db.pragma("secure_delete", 1)
        self._pages_seen = 0
        if self._in_doubt:
            # An earlier process may have died between a write and its sync: what it left is made durable
            # before anybody is told of it. Its pages are copied, since those whose sync failed count as
            # clean, and no sync writes them again.
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def append(self, events: Sequence[Append]) -> list[Outcome]:
        try:
            run = self._appender.plain_run(events)
            if run is not None:
                return self._at_once(partial(self._appender.add, run))
            return self._append(events, check_first=False)
        except RepeatedCid:
            return self._append(events, check_first=True)

    def _append(self, events: Sequence[Append], *, check_first: bool) -> list[Outcome]:
        with self._transaction():
            return self._appender.append(events, check_first=check_first)

    def move_cursors(self, cursors: Sequence[Cursor]) -> None:
        with self._transaction():
            self._appender.move_cursors(cursors)

    def _at_once(self, work: Callable[[], R]) -> R:
        """Do ``work``, which is one statement that commits by itself."""
        self._health.check()
        try:
            return work()
        except _DEFINITE as exc:
            self._roll_back()
            raise StoreUnavailable(_UNAVAILABLE.format(exc)) from exc
        except (apsw.Error, MemoryError) as exc:
            self._appender.forget()
            raise self._fail("a commit", exc) from exc
        except BaseException:
            self._roll_back()  # a value was refused before the statement ran, or a cid is there already
            raise

    def register(
        self, robot: RobotRecord, *, enrolment: Enrolment, act: Act | None = None
    ) -> RobotRecord:
        with self._transaction():
            token, known = (enrolment.token_id,), self._robot(robot.name)
            is_spent = self._db.execute(_SQL["is_spent"], token).get is not None
            is_revoked = self._db.execute(_SQL["is_revoked"], token).get is not None
            check_enrolment(enrolment, known, is_spent=is_spent, is_revoked=is_revoked)
            # Expired tokens are refused for that alone; the margin is for a clock that was set back.
            self._db.execute(_SQL["forget_expired"], (robot.registered_ms - _DAY_MS,))
            self._db.execute(_SQL["spend"], (enrolment.token_id, enrolment.expires_ms))
            stored = self._put_robot(robot)
            if act is not None:
                record(self._db, [act])
            return stored

    def ensure_robot(self, robot: RobotRecord) -> RobotRecord:
        with self._transaction():
            return self._robot(robot.name) or self._put_robot(replace(robot, public_key=None))

    def trim(self, conv: ConversationName, below: int, *, limit: int) -> int:
        with self._transaction():
            row: Any = self._db.execute(_SQL["floor"], (conv,)).fetchone()
            if row is None:
                return 0
            base, floor = int(row[0]), int(row[1])
            bounds = {"base": base, "below": min(max(below, 0), 1 << SEQ_BITS), "limit": limit}
            end = self._db.execute(_SQL["end_of_trim"], bounds | {"bytes_max": _TRIM_BYTES}).get
            if end is None:
                return floor
            self._db.execute(_SQL["delete_events"], (base, end))
            floor = int(end) - base + 1
            self._db.execute(_SQL["raise_floor"], (floor, conv))
            below_floor = {"conv": base >> SEQ_BITS, "floor": floor}
            self._db.execute(_SQL["expire_files"], below_floor)
            self._db.execute(_SQL["delete_refs"], below_floor)
        return floor

    def transact(self, work: Callable[[apsw.Connection], R]) -> R:
        """Return what ``work`` returns, once all that it did is durable."""
        with self._transaction():
            return work(self._db)

    def note_loss(self, conv: ConversationName, seen: int) -> bool:
        if not self._in_doubt:
            return False
        with self._transaction():
            row = self._db.execute(_SQL["halt"], {"conv": conv, "seen": seen}).fetchall()
        self._appender.forget()
        return bool(row)

    def begin_epoch(self) -> None:
        """Give every conversation a new epoch, since its log lost its end; cursors go back to the heads."""
        epoch = secrets.token_hex(8)
        with self._transaction():
            self._db.execute(_SQL["begin_epoch"], (epoch,))
            self._db.execute(_SQL["put_meta"], ("epoch", epoch))
            self._db.execute(_SQL["cut_cursors"])
        self._appender = LogAppender(self._db, self._seal)

    def halted(self) -> int:
        """Return how many conversations are halted; asked when a store is opened.

        Raises:
            StoreCorrupt, StoreUnavailable: it cannot be read that far.
        """
        try:
            count: int = self._db.execute(_SQL["halted"]).get
        except apsw.Error as exc:
            raise cannot_open(self._path, exc) from exc
        return count

    def wipe(self, *, anew: bool) -> bool:
        """Empty the WAL, and with ``anew`` write the whole file first, without what lies in its free places.

        Returns whether the WAL is empty: a reader that looks at an older state keeps it from that.
        """
        if anew:
            self._at_once(partial(self._db.execute, "VACUUM"))
        return self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def rest(self, *, idle: bool) -> float | None:
        self._appender.trim()
        grown = self._pages_written() - self._pages_seen
        if grown and (idle or grown >= _CHECKPOINT_PAGES):
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            grown = self._pages_written() - self._pages_seen
        return _IDLE_S if grown else None

    def close(self) -> None:
        if self._health.failure is None:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        if self._health.failure is None:
            # The last to close may tidy the WAL away; after a failure it must stay as it is.
            self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what the body did, durably, or roll it back.

        Raises:
            StoreUnavailable: rolled back.
            StoreFailed: the outcome is unknown, now or since earlier.
        """
        self._health.check()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
        except apsw.Error as exc:
            self._roll_back()
            if _is_fatal(exc):
                raise self._fail("a write", exc) from exc
            raise StoreUnavailable(_UNAVAILABLE.format(exc)) from exc
        except BaseException:
            self._roll_back()
            raise
        self._commit()

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except apsw.FullError as exc:
            self._roll_back()
            raise StoreUnavailable(_UNAVAILABLE.format(exc)) from exc
        except BaseException as exc:
            self._appender.forget()
            raise self._fail("a commit", exc) from exc

    def _roll_back(self) -> None:
        self._appender.forget()
        try:
            # After some errors SQLite has rolled back by itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except apsw.Error as exc:
            raise self._fail("a rollback", exc) from exc

    def _fail(self, what: str, exc: BaseException) -> ImserverError:
        failure = (
            f"{what} failed ({exc}), so what the disk holds is unknown; the store takes no more calls "
            "until the server is started again and has read it"
        )
        self._health.fail(failure)
        _log.critical("store.failed", extra={"step": what, "error": str(exc)})
        return StoreFailed(failure)

    def _pages_written(self) -> int:
        """Return how many pages this connection has written to the WAL so far.

        A hook that SQLite calls with each commit would say as much, and wait for the interpreter lock.
        """
        pages, _ = self._db.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)
        return pages

    def _checkpoint(self, mode: int) -> bool:
        """Copy the WAL into the database; return whether all that ``mode`` asks for was done."""
        try:
            pages, copied = self._db.wal_checkpoint(mode=mode)
        except (apsw.FullError, apsw.BusyError, apsw.LockedError) as exc:
            # Nothing is lost: the WAL keeps everything until a later checkpoint succeeds.
            _log.warning("store.checkpoint_put_off", extra={"error": str(exc)})
            self._pages_seen = self._pages_written()
            return False
        except apsw.Error as exc:
            self._fail("a checkpoint", exc)
            return False
        # Not all are copied when a reader still looks at an older state.
        self._pages_seen = self._pages_written() - (pages - copied)
        _log.debug("store.checkpoint", extra={"pages": pages, "copied": copied})
        return pages == copied

    def _robot(self, name: RobotName) -> RobotRecord | None:
        row: Any = self._db.execute(_SQL["robot"], (name,)).fetchone()
        return None if row is None else RobotRecord(*row)

    def _put_robot(self, robot: RobotRecord) -> RobotRecord:
        row = (robot.name, robot.public_key, robot.registered_ms)
        rows: list[Any] = self._db.execute(_SQL["put_robot"], row).fetchall()
        return RobotRecord(*rows[0])


def probe(db: apsw.Connection) -> None:
    """Write something that tells nothing but that this can be done."""
    count = db.execute(_SQL["meta"], ("probes",)).get
    db.execute(_SQL["put_meta"], ("probes", str(int(count or 0) + 1)))


def _is_fatal(exc: apsw.Error) -> bool:
    """Tell whether an error before COMMIT leaves doubt about what the disk holds."""
    return is_damage(exc) or extended_code(exc) in {
        apsw.SQLITE_IOERR_FSYNC,
        apsw.SQLITE_IOERR_DIR_FSYNC,
    }
