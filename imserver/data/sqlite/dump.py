"""Gives out a store's file whole, as it lies there: the raw log for who judges the server from outside.

Reads only, in one snapshot, beside a running server if there is one. It does not share the code by which
the server reads, but for the form of a row, and believes in no rule that the rows might break.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import apsw
from msgspec import Struct

from imserver.core.errors import SealingKeyMissing, StoreCorrupt, StoreUnavailable
from imserver.core.key_ring import KeyRing
from imserver.core.model import Cursor
from imserver.data.sealing import EventSeal, key_of
from imserver.data.sqlite.file import is_damage, lost_commits, open_for_reading
from imserver.data.sqlite.rows import as_sealed, unpack
from imserver.data.sqlite.statements import load_statements
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName, DeviceName, RobotName

_SQL: Final = load_statements(__package__, "dump.sql")


class LogHeader(Struct, frozen=True):
    """A conversation, the number by which its rows refer to it, and the first seq that is kept."""

    id: int
    conv: str
    epoch: str
    floor: int


class StoreDump:
    """What is in a store; every iterator goes once over it."""

    def __init__(self, db: apsw.Connection, ring: KeyRing | None) -> None:
        self._db = db
        self._seal = None if ring is None else EventSeal(ring)

    def conversations(self) -> list[LogHeader]:
        """Return the conversations, in no order."""
        return [LogHeader(*row) for row in self._db.execute(_SQL["conversations"])]

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield all events, each with its conversation's number; of one conversation in order of seq.

        Raises:
            SealBroken: of a body that is sealed.
            SealingKeyMissing: a body is sealed, and there is no ring.
        """
        names = {header.id: header.conv for header in self.conversations()}
        rows: Iterable[Any] = self._db.execute(_SQL["events"])
        for conv, key, packed in rows:
            event = unpack(packed)
            if key is None:
                yield conv, event
            elif self._seal is None:
                raise SealingKeyMissing(
                    f"bodies are sealed with key {key_of(key)}; name the key ring with --keys"
                )
            else:
                name = ConversationName(names.get(conv, ""))
                yield conv, self._seal.open(name, as_sealed(event))

    def cursors(self) -> Iterator[Cursor]:
        """Yield all cursors."""
        for robot, device, conv, seq in self._db.execute(_SQL["cursors"]):
            yield Cursor(RobotName(robot), DeviceName(device), ConversationName(conv), seq)


@contextlib.contextmanager
def open_dump(path: Path, ring: KeyRing | None = None) -> Iterator[StoreDump]:
    """Open the store in the file ``path`` for as long as the context is entered. Blocks.

    ``ring`` opens bodies that are sealed.

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
            yield StoreDump(db, ring)
    except apsw.Error as exc:
        if is_damage(exc):
            raise StoreCorrupt(f"{path} is too damaged to be read: {exc}") from exc
        raise StoreUnavailable(f"{path} cannot be read now: {exc}") from exc
    finally:
        db.close()
