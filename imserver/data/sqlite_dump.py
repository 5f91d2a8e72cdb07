"""Gives out a store's file whole, as it lies there: the raw log for who judges the server from outside.

Reads only, in one snapshot, beside a running server if there is one. It does not share the code by which
the server reads, and believes in no rule that the rows might break.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw
from msgspec import Raw, Struct

from imserver.core.errors import StoreCorrupt, StoreUnavailable
from imserver.core.model import Cursor
from imserver.data.sqlite_file import is_damage, lost_commits, open_for_reading
from imserver.data.sqlite_statements import load_statements
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName, DeviceName, RobotName

_SQL: Final = load_statements("sqlite_dump.sql")


class LogHeader(Struct, frozen=True):
    """A conversation, the number by which its rows refer to it, and the first seq that is kept."""

    id: int
    conv: str
    epoch: str
    floor: int


class StoreDump:
    """What is in a store; every iterator goes once over it."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def conversations(self) -> list[LogHeader]:
        """Return the conversations, in no order."""
        return [LogHeader(*row) for row in self._db.execute(_SQL["conversations"])]

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield all events, each with its conversation's number; of one conversation in order of seq."""
        for conv, seq, ts, sender, cid, kind, ref, body in self._db.execute(_SQL["events"]):
            yield conv, Event(seq, ts, sender, cid, kind, Raw(body), ref)

    def cursors(self) -> Iterator[Cursor]:
        """Yield all cursors."""
        for robot, device, conv, seq in self._db.execute(_SQL["cursors"]):
            yield Cursor(RobotName(robot), DeviceName(device), ConversationName(conv), seq)


@contextlib.contextmanager
def open_dump(path: Path) -> Iterator[StoreDump]:
    """Open the store in the file ``path`` for as long as the context is entered. Blocks.

    Raises:
        StoreCorrupt: the file is not a store, or is too damaged to be read; also inside the context.
        StoreTooNew: a newer version wrote it.
        StoreUnavailable: it does not exist or cannot be read; also inside the context.
    """
    damage = lost_commits(path)
    if damage is not None:
        # SQLite must not open the file: its index of the WAL is evidence, and would be made anew.
        raise StoreCorrupt(f"the write-ahead log of {path}: {damage}")
    db = open_for_reading(path)
    try:
        with db:  # one snapshot for all questions
            yield StoreDump(db)
    except apsw.Error as exc:
        if is_damage(exc):
            raise StoreCorrupt(f"{path} is too damaged to be read: {exc}") from exc
        raise StoreUnavailable(f"{path} cannot be read now: {exc}") from exc
    finally:
        db.close()
