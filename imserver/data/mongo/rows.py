"""How records stand in MongoDB: events, changes of members on their way, and positions in a log."""

from typing import Any, Final, TypeAlias

from bson.max_key import MaxKey
from msgspec import Raw

from imserver.core.model import (
    Added,
    Append,
    Created,
    Deleted,
    Member,
    MembershipChange,
    Removed,
    RobotRecord,
)
from imserver.protocol.events import SEQ_MAX, Event, Role
from imserver.protocol.names import ConversationName, RobotName

Document: TypeAlias = dict[str, Any]

_END: Final = MaxKey()


def place(conv: str, seq: int) -> Document:
    """Return the ``_id`` of an event; a seq beyond all bounds is brought back to them."""
    return {"c": conv, "s": min(max(seq, 0), SEQ_MAX)}


def between(conv: str, after: int, before: int | None = None) -> Document:
    """Return a condition on ``_id``: of this log, behind ``after`` and ahead of ``before`` (or the end)."""
    end = {"c": conv, "s": _END} if before is None else place(conv, before)
    return {"$gt": place(conv, after), "$lt": end}


def event_document(asked: Append, seq: int) -> Document:
    """Return an event as it is stored, but for what it changes or refers to."""
    document = {
        "_id": {"c": asked.conv, "s": seq},
        "ts": asked.ts,
        "sender": asked.sender,
        "cid": asked.cid,
        "kind": asked.kind,
        "body": asked.body,
    }
    if asked.ref is not None:
        document["ref"] = asked.ref
    return document


def event_of(document: Document) -> Event:
    """Return the event that a document holds."""
    return Event(
        document["_id"]["s"],
        document["ts"],
        document["sender"],
        document["cid"],
        document["kind"],
        Raw(document["body"]),
        document.get("ref"),
    )


def member_rows(members: dict[RobotName, Role], since: int) -> list[Document]:
    """Return members as they stand in a conversation's record."""
    return [{"r": robot, "role": role.value, "since": since} for robot, role in members.items()]


def members_of(rows: list[Document]) -> dict[RobotName, Member]:
    """Return the members of a conversation's record."""
    return {RobotName(row["r"]): Member(Role(row["role"]), row["since"]) for row in rows}


def change_document(change: MembershipChange, *, epoch: str) -> Document:
    """Return a change as it stands in its event until it is done; ``epoch`` is that of a log that begins."""
    match change:
        case Created(members=members, open=is_open):
            rows = member_rows(members, since=1)
            return {"do": "begin", "members": rows, "open": is_open, "epoch": epoch}
        case Added(robots=robots, role=role):
            return {"do": "add", "robots": list(robots), "role": role.value}
        case Removed(robots=robots):
            return {"do": "remove", "robots": list(robots)}
        case Deleted():
            return {"do": "end"}


def robot_of(document: Document) -> RobotRecord:
    """Return the robot that a document holds."""
    return RobotRecord(
        RobotName(document["_id"]),
        document["public_key"],
        document["registered_ms"],
        document.get("revoked_ms"),
    )


def conv_of(event: Document) -> ConversationName:
    """Return the conversation of an event's document."""
    return ConversationName(event["_id"]["c"])
