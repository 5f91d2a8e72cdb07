"""What a store holds, read past the server and all of its code, for the second judge."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import apsw
import msgpack

Place: TypeAlias = tuple[str, int, str, str]
"""Conversation, seq, sender and cid of an event."""
Change: TypeAlias = tuple[str, int, str, bytes]
"""Conversation, seq, kind and body (in MessagePack) of an event that changes who the members are."""
CHANGES = ("members_added", "members_removed", "group_deleted")

_LOG = """
SELECT c.name, e.seq, e.sender, e.cid FROM events e JOIN conversations c ON c.id = e.conv ORDER BY e.key
"""
_FLOORS = "SELECT name, floor FROM conversations"
_MEMBERS = "SELECT c.name, m.robot FROM members m JOIN conversations c ON c.id = m.conv"
_PACKED = """
SELECT c.name, e.seq, e.packed FROM events e JOIN conversations c ON c.id = e.conv ORDER BY e.key
"""


class RawStore(NamedTuple):
    """The logs as they stand there, each in the order of its seqs, and who is a member of what.

    Attributes:
        floors: the first seq that retention has kept, of each log.
        log: all events.
        members: conversation and robot, of those who are members.
        changes: those events that change members.
    """

    floors: dict[str, int]
    log: Iterable[Place]
    members: set[tuple[str, str]]
    changes: list[Change]


def read_sqlite(data: Path) -> RawStore:
    """Read the store in a data directory."""
    db = apsw.Connection(str(data / "imserver.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return RawStore(
            floors=dict(_all(db, _FLOORS)),
            log=_all(db, _LOG),
            members=set(_all(db, _MEMBERS)),
            changes=[
                (conv, seq, event["kind"], msgpack.packb(event["body"]))
                for conv, seq, packed in db.execute(_PACKED)
                if (event := msgpack.unpackb(packed, strict_map_key=False))["kind"] in CHANGES
            ],
        )
    finally:
        db.close()


def _all(db: apsw.Connection, query: str) -> list[Any]:
    return db.execute(query).fetchall()
