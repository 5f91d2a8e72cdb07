"""What a conversation's log is made of: events, their kinds, and the roles of members.

The server writes the kinds in ``SERVER_KINDS`` itself; a client may write any other name. ``edit`` and
``redact`` change how an earlier message is shown; ``file`` refers to an uploaded file; every other kind is
treated as a message.
"""

import enum
from typing import Annotated, Final

from msgspec import Meta, Raw, Struct

SEQ_MAX: Final = 2**53 - 1  # JSON readers hold integers in doubles
Seq = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
Millis = Annotated[int, Meta(ge=0, le=SEQ_MAX)]

GROUP_CREATED: Final = "group_created"
GROUP_DELETED: Final = "group_deleted"
MEMBERS_ADDED: Final = "members_added"
MEMBERS_REMOVED: Final = "members_removed"
ROLE_CHANGED: Final = "role_changed"
SERVER_KINDS: Final = frozenset(
    {GROUP_CREATED, GROUP_DELETED, MEMBERS_ADDED, MEMBERS_REMOVED, ROLE_CHANGED}
)

MESSAGE: Final = "message"
EDIT: Final = "edit"
REDACT: Final = "redact"
FILE: Final = "file"
AMENDING_KINDS: Final = frozenset({EDIT, REDACT})

SERVER_CID_PREFIX: Final = "@"
"""Cids that the server chooses begin with this; a client's may not, so the two never meet."""


class Role(enum.StrEnum):
    """A member's standing in a group, strongest first."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    OBSERVER = "observer"


class Event(Struct, omit_defaults=True, frozen=True, gc=False):
    """One entry of a conversation's log, as stored and as sent.

    Attributes:
        seq: place in the log, 1, 2, 3, … without gaps; given by the server.
        ts: milliseconds since 1970 by the server's clock, when the server took it in.
        sender: robot that caused it.
        cid: the sender's own name for it; unique per conversation and sender.
        kind: ``message``, ``edit``, ``group_created``, … or any name a client chose.
        body: the value as its sender wrote it, in the codec of the frame around it.
        ref: seq of the event that this one answers, edits or ends.
    """

    seq: Annotated[int, Meta(ge=1, le=SEQ_MAX)]
    ts: Millis
    sender: str
    cid: str
    kind: str
    body: Raw
    ref: Seq | None = None
