"""The states of a session and which frames a client may send in each: one table for all transports.

fresh ──hello without token──> challenged ──prove──> open
  └───────────hello with a bearer token───────────────┘
"""

import enum
from typing import Final

from msgspec import Struct

from imserver.protocol import client_frames as frames


class SessionState(enum.StrEnum):
    """How far a client has come."""

    FRESH = "fresh"
    CHALLENGED = "challenged"
    OPEN = "open"
    CLOSED = "closed"


BEFORE_HELLO: Final[frozenset[type[Struct]]] = frozenset({frames.Register, frames.Hello})
BY_CHALLENGE: Final[frozenset[type[Struct]]] = frozenset({frames.Prove})
IN_SESSION: Final[frozenset[type[Struct]]] = frozenset(
    {
        frames.Send,
        frames.Ack,
        frames.Follow,
        frames.Unfollow,
        frames.History,
        frames.Signal,
        frames.Chunk,
        frames.Stop,
        frames.CreateGroup,
        frames.DeleteGroup,
        frames.Join,
        frames.Leave,
        frames.AddMembers,
        frames.RemoveMembers,
        frames.SetRole,
        frames.ListGroups,
        frames.ListMembers,
        frames.ListRobots,
        frames.WhoAmI,
        frames.RotateKey,
        frames.HttpToken,
        frames.Ping,
    }
)

ALLOWED: Final[dict[SessionState, frozenset[type[Struct]]]] = {
    SessionState.FRESH: BEFORE_HELLO,
    SessionState.CHALLENGED: BY_CHALLENGE,
    SessionState.OPEN: IN_SESSION,
    SessionState.CLOSED: frozenset(),
}
