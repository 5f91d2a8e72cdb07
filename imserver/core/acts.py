"""Administrative acts: what was done to a deployment, by whom and when, and what it changes.

They are what the audit log holds. No secrets and no bodies stand in them: a token is named by its id, a key
by its fingerprint. Frozen values, as in `model`.
"""

import enum
import hashlib
from typing import Final, TypeAlias

from msgspec import Struct

from imserver.core.tokens import Claims
from imserver.protocol.names import RobotName

Fact: TypeAlias = str | int | list[str]


class ActKind(enum.StrEnum):
    """What was done."""

    MINTED = "token_minted"
    REVOKED = "token_revoked"
    ROBOT_REGISTERED = "robot_registered"
    ROBOT_REVOKED = "robot_revoked"
    KEY_ROTATED = "key_rotated"
    CLONE_SEEN = "clone_seen"
    RETENTION_SET = "retention_set"
    STORE_BACKED_UP = "store_backed_up"
    STORE_RESTORED = "store_restored"
    LOSS_ACCEPTED = "loss_accepted"
    SEALING_KEY_ADDED = "sealing_key_added"
    SEALING_KEY_REMOVED = "sealing_key_removed"
    STORE_UNSEALED = "store_unsealed"


MEANING: Final[dict[ActKind, str]] = {
    ActKind.MINTED: "A token was made, for enrolment or to bear.",
    ActKind.REVOKED: "A token is good no more.",
    ActKind.ROBOT_REGISTERED: "A robot bound its name to a key, with an enrolment token.",
    ActKind.ROBOT_REVOKED: "A robot's key and all its tokens are good no more.",
    ActKind.KEY_ROTATED: "A robot put a new key in the place of its old one.",
    ActKind.CLONE_SEEN: "Two machines showed one identity.",
    ActKind.RETENTION_SET: "A server began to let events go by other rules than the one before.",
    ActKind.STORE_BACKED_UP: "The store was copied.",
    ActKind.STORE_RESTORED: "A backup took the place of the store.",
    ActKind.LOSS_ACCEPTED: "A store that lost its end was put to use again.",
    ActKind.SEALING_KEY_ADDED: "A key that seals what is stored was made.",
    ActKind.SEALING_KEY_REMOVED: "A key that sealed what was stored was taken out of the ring.",
    ActKind.STORE_UNSEALED: "What was sealed in the store was stored as it was before.",
}


class TokenMade(Struct, frozen=True, tag="token_made"):
    """A token came into being; it is on record until it expires."""

    kind: str
    scopes: tuple[str, ...]
    groups: tuple[str, ...]
    expires_ms: int


class TokenEnded(Struct, frozen=True, tag="token_ended"):
    """A token is good no more; it stays on record until it would have expired anyway."""

    expires_ms: int


class RobotEnded(Struct, frozen=True, tag="robot_ended"):
    """A robot's key is forgotten, and tokens that were minted until now are good no more."""


class KeyReplaced(Struct, frozen=True, tag="key_replaced"):
    """The robot's key is ``new`` if it was ``old``; else nothing is changed, or recorded."""

    old: bytes
    new: bytes


Change: TypeAlias = TokenMade | TokenEnded | RobotEnded | KeyReplaced


class Act(Struct, frozen=True):
    """An act, as it is performed and as it is recorded.

    Attributes:
        id: 128 random bits as text: an act that is performed again is the same one.
        at_ms: milliseconds since 1970.
        by: the robot that did it, or ``cli:<user>`` for who did it beside the data directory.
        robot: whom it is about, if it is about a robot.
        token_id: which token it is about, if it is about one.
        facts: what else is worth knowing.
        change: what it does, in the same transaction; None: the deed was done elsewhere.
    """

    id: str
    at_ms: int
    by: str
    kind: ActKind
    robot: RobotName | None = None
    token_id: str | None = None
    facts: dict[str, Fact] = {}
    change: Change | None = None


class RecordedAct(Struct, frozen=True):
    """An act in the audit log; ``number`` grows from act to act."""

    number: int
    at_ms: int
    by: str
    kind: ActKind
    robot: RobotName | None = None
    token_id: str | None = None
    facts: dict[str, Fact] = {}


class TokenRecord(Struct, frozen=True):
    """A token that has not expired.

    Attributes:
        revoked_ms: when it was revoked, in milliseconds since 1970; None if it was not.
        spent: whether it was used, if it is good once.
    """

    id: str
    kind: str
    robot: RobotName
    scopes: tuple[str, ...]
    groups: tuple[str, ...]
    minted_ms: int
    minted_by: str
    expires_ms: int
    revoked_ms: int | None = None
    spent: bool = False


class Revoked(Struct, frozen=True):
    """What is good no more.

    Attributes:
        tokens: ids of tokens that have not expired, with the time at which they do.
        robots: for each robot that was ever revoked, when it last was.
    """

    tokens: dict[str, int] = {}
    robots: dict[RobotName, int] = {}


def minting(claims: Claims, *, by: str) -> Act:
    """Return the act of minting a token."""
    facts: dict[str, Fact] = {
        "kind": claims.kind,
        "scopes": list(claims.scopes),
        "groups": list(claims.groups),
        "expires_ms": claims.expires_ms,
    }
    return Act(
        f"mint-{claims.id}",
        claims.issued_ms,
        by,
        ActKind.MINTED,
        RobotName(claims.robot),
        claims.id,
        facts,
        TokenMade(claims.kind, claims.scopes, claims.groups, claims.expires_ms),
    )


def key_fingerprint(key: bytes) -> str:
    """Return what stands for a public key in logs: 64 bits of its SHA-256."""
    return hashlib.sha256(key).hexdigest()[:16]
