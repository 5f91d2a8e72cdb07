"""What travels over HTTP in JSON: the frames of the wire without what the path and the headers say already.

Their fields mean what they mean on the wire. A test holds each shape to its frame, so that neither gains a
field without the other.
"""

from typing import Annotated, Any, Final

from msgspec import Meta, Raw, Struct, structs

from imserver.core.files import FileRecord
from imserver.logic import file_metadata
from imserver.protocol import bodies
from imserver.protocol.client_frames import Kind, PublicKey, SignalKey
from imserver.protocol.events import MESSAGE, Event, Role, Seq
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import (
    ConversationState,
    Gap,
    GroupRow,
    MemberRow,
    RobotRow,
)

ACKS_MAX: Final = 1_000


class NewEvent(Struct, frozen=True):
    """An event to store: a `send` without its name, which is the header ``Idempotency-Key``.

    Attributes:
        body: any value within the rules for bodies.
        kind: what the event is, by the rule for names; the server's own kinds are refused.
        ref: seq of the event that this one answers, edits, redacts or ends.
        require: which acks make a receipt complete; refused as ``unsupported`` so far.
        targets: robots whose acks count for the receipt; refused as ``unsupported`` so far.
    """

    body: Raw
    kind: Kind = MESSAGE
    ref: Seq | None = None
    require: str | None = None
    targets: list[str] | None = None


class Sent(Struct, frozen=True):
    """The event is durable at ``seq``; ``dup`` if its Idempotency-Key was stored before.

    Attributes:
        conv: name of the conversation.
        epoch: epoch of its log.
        seq: the event's place in the log.
        ts: when the server took the event in, in milliseconds since 1970.
        dup: whether this key was stored before; ``seq`` and ``ts`` are then the first one's.
    """

    conv: str
    epoch: str
    seq: int
    ts: int
    dup: bool


class Hole(Struct, frozen=True, rename={"from_": "from"}):
    """Events that do not come, from ``from`` to ``to``, and why.

    Attributes:
        conv: name of the conversation.
        epoch: epoch of its log.
        from_: first seq that will not come.
        to: last seq that will not come.
        count: how many these are.
        why: as in the frame ``gap``.
    """

    conv: str
    epoch: str
    from_: int
    to: int
    count: int
    why: str


class Goodbye(Struct, frozen=True, omit_defaults=True):
    """The end of a stream that the server ends.

    Attributes:
        code: close code; its range says what to do.
        reason: what happened, for people.
        retry_after: milliseconds to wait before coming back.
    """

    code: int
    reason: str
    retry_after: int | None = None


class NewTicket(Struct, frozen=True):
    """A ticket for one stream of one conversation, for a browser's EventSource, which sends no headers.

    Attributes:
        ticket: good once and soon; while the stream it opened lives, its browser may reconnect.
        expires: until when it opens a stream, in milliseconds since 1970.
        url: path of the stream, with the ticket.
    """

    ticket: str
    expires: int
    url: str


class Page(Struct, frozen=True, omit_defaults=True):
    """A part of a log.

    Attributes:
        conv: name of the conversation.
        epoch: epoch of its log; it changes only when the log was restored and may have lost a tail.
        seq: head of the log when the page was asked for, or how far it reaches if that is further.
        events: events in log order; none if there is nothing further in the direction asked for.
        gap: what is missing before them, if events in the direction asked for were let go.
    """

    conv: str
    epoch: str
    seq: int
    events: list[Event]
    gap: Hole | None = None


class Registration(Struct, frozen=True):
    """A robot's name and its public key, with the enrolment token that allows it.

    Attributes:
        robot: name to bind; it is unique for good.
        token: enrolment token that an operator minted for this name; good once.
        public_key: the robot's Ed25519 public key, 32 bytes in base64.
    """

    robot: str
    token: str
    public_key: PublicKey


class NewGroup(Struct, frozen=True):
    """A group to create and own.

    Attributes:
        name: name of the group, without ``g/``; never used before.
        members: registered robots that are members from the start, besides the creator.
        open: whether any robot may join.
    """

    name: str
    members: list[str] = []
    open: bool = False


class NewMembers(Struct, frozen=True):
    """Robots to add to a group.

    Attributes:
        robots: names of the robots.
        role: role that the added robots get.
    """

    robots: Annotated[list[str], Meta(min_length=1)]
    role: Role = Role.MEMBER


class NewRole(Struct, frozen=True):
    """Another role for a member.

    Attributes:
        role: its new role.
    """

    role: Role


class NewAck(Struct, frozen=True):
    """A device's word that it is done with a part of the log.

    Attributes:
        seq: last event processed; acks are cumulative, and lower ones than before are ignored.
        device: which of the robot's devices this is; each has cursors of its own.
    """

    seq: Seq
    device: str = "main"


class NewAcks(Struct, frozen=True):
    """A device's word on several conversations at once.

    Attributes:
        acks: by conversation, the last event processed, as in an ack of one.
        device: which of the robot's devices this is; each has cursors of its own.
    """

    acks: Annotated[dict[str, Seq], Meta(min_length=1, max_length=ACKS_MAX)]
    device: str = "main"


class NewSignal(Struct, frozen=True):
    """A value of which only the latest counts; not stored.

    Attributes:
        key: which of the sender's values this is; not with ``@`` first.
        body: any value within the rules for bodies.
    """

    key: SignalKey
    body: Raw


class SignalRow(Struct, frozen=True):
    """The latest value of a signal.

    Attributes:
        sender: the robot whose signal it is.
        key: which of the sender's values this is.
        body: the value.
        rev: grows with each value of the signal.
    """

    sender: str
    key: str
    body: Raw
    rev: int


class LatestSignals(Struct, frozen=True):
    """The latest values of a conversation's signals, as far as this server remembers them.

    Attributes:
        signals: the oldest first.
    """

    signals: list[SignalRow]


class Caller(Struct, frozen=True):
    """Who asks, as the bearer token says.

    Attributes:
        robot: name of the robot.
        admin: whether it may act as an owner of every group.
        scopes: what of its robot's rights the token gives.
        expires: when the token ends to be good, in milliseconds since 1970.
    """

    robot: str
    admin: bool
    scopes: list[str]
    expires: int


class ServerFacts(Struct, frozen=True):
    """What a ``welcome`` tells of the server.

    Attributes:
        server: this deployment's stable id.
        node: name of the server process that answers.
        now: the server's clock, in milliseconds since 1970.
        limits: the limits a server holds its clients to.
    """

    server: str
    node: str
    now: int
    limits: Limits


class Registered(Struct, frozen=True):
    """A robot that is registered now.

    Attributes:
        robot: its name.
    """

    robot: str


class Robots(Struct, frozen=True):
    """A page of the registered robots, by name.

    Attributes:
        robots: none if there are no more.
    """

    robots: list[RobotRow]


class Groups(Struct, frozen=True):
    """A page of groups, by name.

    Attributes:
        groups: none if there are no more.
    """

    groups: list[GroupRow]


class Members(Struct, frozen=True):
    """A page of the members of a conversation, by name.

    Attributes:
        members: none if there are no more.
    """

    members: list[MemberRow]


class Conversations(Struct, frozen=True):
    """Every conversation of a robot, with one device's places.

    Attributes:
        conversations: by name.
    """

    conversations: list[ConversationState]


def hole(gap: Gap) -> Hole:
    """Return a gap of the wire as HTTP tells it."""
    return Hole(gap.conv, gap.epoch, gap.from_, gap.to, gap.to - gap.from_ + 1, gap.why)


def in_json(events: list[Event]) -> list[Event]:
    """Return stored events with their bodies in JSON."""
    return [structs.replace(event, body=bodies.to_json(event.body)) for event in events]


def fields_of(shape: Struct) -> dict[str, Any]:
    """Return a shape's fields, from which its frame is made."""
    return structs.asdict(shape)


class FileRow(Struct, frozen=True, omit_defaults=True):
    """A file of one's own.

    Attributes:
        file: its id.
        name: the name that was said of it; may be empty.
        type: the media type that was said of it.
        size: bytes of the whole.
        offset: how many of them are here; all, when it is finished.
        created: when it was begun, in milliseconds since 1970.
        expires: from when on it may be let go, in milliseconds since 1970; null: never.
        sha256: digest of the whole in hex; null while it is unfinished.
    """

    file: str
    name: str
    type: str
    size: int
    offset: int
    created: int
    expires: int | None = None
    sha256: str | None = None


class Files(Struct, frozen=True):
    """Files of one's own, by id.

    Attributes:
        files: as many as were asked for at most; go on after the last id.
    """

    files: list[FileRow]


def file_row(file: FileRecord) -> FileRow:
    """Return a file as a list has it."""
    said = file_metadata.parse(file.metadata.decode())
    return FileRow(
        file=file.id,
        name=said.name,
        type=said.type,
        size=file.size,
        offset=file.offset,
        created=file.created_ms,
        expires=file.expires_ms,
        sha256=None if file.digest is None else file.digest.hex(),
    )
