"""The records that travel between tiers: frozen values, which wait for nothing and read no clock."""

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from imserver.core.files import FileId
from imserver.protocol.events import Event, Role
from imserver.protocol.names import ConversationName, DeviceName, RobotName


class Created(Struct, frozen=True):
    """A group comes into being with its first members (the creator among them)."""

    members: dict[RobotName, Role]
    open: bool


class Deleted(Struct, frozen=True):
    """A group ends: it has no members from here on, and its name stays taken."""


class Added(Struct, frozen=True):
    """Robots become members with a role, or members get that role."""

    robots: tuple[RobotName, ...]
    role: Role


class Removed(Struct, frozen=True):
    """Robots are members no longer."""

    robots: tuple[RobotName, ...]


MembershipChange: TypeAlias = Created | Deleted | Added | Removed


class Recall(Struct, frozen=True):
    """Nothing is to be stored or changed: whether the cid is stored already is all that is asked."""


class Refers(Struct, frozen=True):
    """The event refers to a file, which members of its conversation may see from here on. No more than that
    happens if the file has gone meanwhile."""

    file: FileId


class Append(Struct, frozen=True, gc=False):
    """An event that asks to be stored; the store gives it its seq.

    Attributes:
        body: MessagePack, already checked.
        change: what the event does to the membership, applied in the same transaction; or the file that it
            refers to, likewise; or `Recall`, whose outcome is as of an event that is sent again, and
            `Missing` if there was none.
        known: the sender's rights were judged by the log up to this seq; None if nothing was judged.
    """

    conv: ConversationName
    ts: int
    sender: RobotName
    cid: str
    kind: str
    body: bytes
    ref: int | None = None
    change: MembershipChange | Refers | Recall | None = None
    known: int | None = None


class Stored(Struct, frozen=True, gc=False):
    """The event is durable. ``dup``: this cid was stored before; ``event`` is then the first one."""

    epoch: str
    event: Event
    dup: bool


class Missing(Struct, frozen=True):
    """Not stored: the group does not exist, or has ended."""


class Taken(Struct, frozen=True):
    """Not stored: a group of that name exists or has existed."""


class Mismatch(Struct, frozen=True):
    """Not stored: the cid was used before, for an event (at ``seq``) of another kind, ref or body."""

    seq: int


class Halted(Struct, frozen=True):
    """Not stored: the end of the log is lost, as a robot that has seen it up to ``seen`` shows. An operator
    must accept the loss, or restore, before a seq is given again."""

    seen: int


class Outdated(Struct, frozen=True):
    """Not stored: the members were changed, by the event at ``seq``, after its sender's rights were seen."""

    seq: int


class Unresolved(Struct, frozen=True):
    """Whether the event is stored did not become known in time; who asks again with its cid learns it."""


Outcome: TypeAlias = Stored | Missing | Taken | Mismatch | Halted | Outdated | Unresolved


class Cursor(Struct, frozen=True, gc=False):
    """How far a device has processed a conversation; cursors only move forwards."""

    robot: RobotName
    device: DeviceName
    conv: ConversationName
    seq: int


class RobotRecord(Struct, frozen=True):
    """A registered robot.

    Attributes:
        public_key: 32 bytes, Ed25519; None for one that only uses bearer tokens, or was revoked.
        revoked_ms: when it was last revoked, in milliseconds since 1970; tokens as old as that are no good.
    """

    name: RobotName
    public_key: bytes | None
    registered_ms: int
    revoked_ms: int | None = None


class Enrolment(Struct, frozen=True):
    """An enrolment token as the registry sees it: good once, while it lasts."""

    token_id: str
    issued_ms: int
    expires_ms: int


class Boot(Struct, frozen=True):
    """Which start of a device's program this is.

    Attributes:
        number: how many starts it has counted.
        instance: random text of this start.
    """

    number: int
    instance: str


class Member(Struct, frozen=True):
    """A member of a conversation; ``since`` is the seq of the event that added it."""

    role: Role
    since: int


class Keep(Struct, frozen=True):
    """What is kept of a log: an event goes if any of these lets it go. The head is kept always.

    Attributes:
        since_ms: events older than this go, and with them all before them; None: of any age.
        events: how many of the newest stay; None: any number.
        body_bytes: the newest stay whose bodies take no more than this; None: any size.
    """

    since_ms: int | None = None
    events: int | None = None
    body_bytes: int | None = None


class ConversationRecord(Struct, frozen=True):
    """A conversation with its head and members. A group that ended has ``deleted`` and no members.

    ``floor`` is the seq of the first event that is kept.
    """

    conv: ConversationName
    epoch: str
    head: int
    open: bool
    deleted: bool
    members: dict[RobotName, Member]
    floor: int = 1


class Membership(Struct, frozen=True, gc=False):
    """A conversation as one of its members finds it at ``hello``.

    Attributes:
        since: seq of the event that added the robot.
        device_acked: this device's cursor, None if it never acked here.
        robot_acked: the furthest cursor of any of the robot's devices, None if none ever acked here.
        floor: seq of the first event that is kept.
    """

    conv: ConversationName
    epoch: str
    head: int
    role: Role
    since: int
    device_acked: int | None
    robot_acked: int | None
    floor: int = 1


class GroupSummary(Struct, frozen=True):
    """A group in a list: ``role`` is the asking robot's, None if it is not a member."""

    conv: ConversationName
    role: Role | None
    members: int
    head: int


class Run(Struct, frozen=True, gc=False):
    """Committed events of one conversation, one or more, of consecutive seq: what nodes tell each other."""

    conv: ConversationName
    epoch: str
    events: Annotated[list[Event], Meta(min_length=1)]
