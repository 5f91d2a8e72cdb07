"""The frames the server sends, and the rows inside the ``result`` of an ``ok``."""

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Raw, Struct

from imserver.protocol.client_frames import RequestId
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import SEQ_MAX, Event, Millis, Role, Seq
from imserver.protocol.limits import Limits
from imserver.protocol.packed_events import unpacked

CloseNumber = Annotated[int, Meta(ge=1000, le=4999)]
EventSeq = Annotated[int, Meta(ge=1, le=SEQ_MAX)]
Number = Annotated[int, Meta(ge=0, le=SEQ_MAX)]


class Frame(Struct, tag_field="t", frozen=True, omit_defaults=True):
    """The base of every frame the server sends.

    A field means the same wherever it occurs; frames describe only what is special to them.

    Attributes:
        id: the ``id`` of the request that this answers.
        conv: name of the conversation.
        epoch: epoch of the conversation's log; it changes only when the log was restored and may
            have lost a tail.
        seq: place in the conversation's log.
        robot: name of the robot.
        device: name of the robot's device.
        sender: robot that caused it.
        now: the server's clock, in milliseconds since 1970.
        node: name of the server process that serves this connection.
        retry_after: milliseconds to wait before trying again.
    """


class ConversationState(Struct, frozen=True):
    """A conversation as ``welcome`` tells it: ``seq`` is its head, ``acked`` this device's cursor.

    Attributes:
        conv: name of the conversation.
        epoch: epoch of its log.
        seq: head of its log: the seq of the last event, 0 if there is none.
        acked: this device's cursor, or where a device that never acked begins.
    """

    conv: str
    epoch: str
    seq: Seq
    acked: Seq


class Challenge(Frame, tag="challenge", frozen=True):
    """What to sign: the nonce is single use and dies with the connection; ``server`` may be pinned.

    Attributes:
        nonce: text to sign; good once and on this connection only.
        server: this deployment's stable id; a robot may pin it.
    """

    nonce: str
    server: str


class Welcome(Frame, tag="welcome", frozen=True, omit_defaults=False):
    """The session is open; every conversation of the robot with its head and this device's cursor.

    Attributes:
        session: id of the session.
        limits: limits that this server holds its clients to.
        conversations: every conversation of the robot.
        server: this deployment's stable id, as in `challenge`.
    """

    session: str
    robot: str
    device: str
    now: Millis
    node: str
    limits: Limits
    conversations: list[ConversationState]
    server: str = ""


class Sent(Frame, tag="sent", frozen=True, omit_defaults=False, gc=False):
    """The event is durable at ``seq``; ``dup`` if this cid was stored before.

    Attributes:
        seq: the event's place in the log.
        ts: when the server took the event in, in milliseconds since 1970.
        dup: whether this cid was stored before; ``seq`` and ``ts`` are then the first one's.
    """

    id: RequestId
    conv: str
    epoch: str
    seq: EventSeq
    ts: Millis
    dup: bool


class Ok(Frame, tag="ok", frozen=True):
    """A request was carried out; ``events`` answers ``history``, ``result`` the others.

    Attributes:
        result: what was asked for, or the seq of the change; see each request.
        events: events in log order (``history`` only).
    """

    id: RequestId
    result: Any = None
    events: list[Event] | None = None


class Pong(Frame, tag="pong", frozen=True, gc=False):
    """The answer to ``ping``: the server's clock in milliseconds since 1970."""

    id: RequestId
    now: Millis


class Error(Frame, tag="error", frozen=True):
    """A request was refused. ``retry_after`` is in milliseconds; after ``fatal`` the server closes.

    Attributes:
        code: what is wrong, for programs; stable.
        message: what is wrong and what would be right, for people; may change.
        fatal: whether the server closes the connection after this.
        id: the ``id`` of the request that is refused; left out if it had none or could not be read.
    """

    code: ErrorCode
    message: str
    fatal: bool
    id: int | None = None
    retry_after: Millis | None = None


class Deliver(Frame, tag="deliver", frozen=True, gc=False):
    """Events of one conversation, in order and without gaps.

    Attributes:
        events: one or more events, each seq one above the last.
    """

    conv: str
    epoch: str
    events: list[Event]


class PackedDeliver(Frame, tag="deliver", frozen=True, gc=False, rename={"packed": "events"}):
    """The same frame, for who has its events encoded already; only ever sent.

    Attributes:
        packed: a MessagePack array of the events.
    """

    conv: str
    epoch: str
    packed: Raw

    @property
    def events(self) -> list[Event]:
        """The events, decoded anew each time."""
        return unpacked(self.packed)


class SignalValue(Frame, tag="signal", frozen=True, gc=False):
    """The latest value of a sender's signal; ``rev`` grows, older ones may be skipped.

    Attributes:
        key: which of the sender's values this is; those with ``@`` first are the server's.
        body: the value.
        rev: grows with each value; drop one that is not above the last seen.
    """

    conv: str
    sender: str
    key: str
    body: Raw
    rev: Number


class StreamChunk(Frame, tag="chunk", frozen=True, gc=False):
    """A piece of an open stream; a late reader first gets one that joins 0 to ``n``.

    Attributes:
        seq: the stream: the seq of the event that opened it.
        n: number of the piece, or of the last of the joined ones.
        data: the text.
    """

    conv: str
    seq: Seq
    n: Number
    data: str


class Head(Frame, tag="head", frozen=True, gc=False):
    """The head of a conversation, told to idle readers so that a loss shows without traffic.

    Attributes:
        seq: the seq of the last event.
    """

    conv: str
    epoch: str
    seq: Seq


RETENTION = "retention"
RESTORED = "restored"
AHEAD = "ahead"
"""Why there is a hole; the values of `Gap.why`."""


class Gap(Frame, tag="gap", frozen=True, rename={"from_": "from"}):
    """A hole from ``from`` to ``to`` that will not be filled, and why.

    Attributes:
        from_: first seq that will not come.
        to: last seq that will not come.
        why: ``retention``: the events were let go, as the server's settings say; ``restored``: the log was
            put back from a backup, or lost its end, and its seq are given anew; ``ahead``: the client has
            seen more than is there, and events that were acked are lost.
        id: the ``id`` of the ``history`` whose page begins behind it; left out if it concerns what is
            delivered.
    """

    conv: str
    epoch: str
    from_: EventSeq
    to: Seq
    why: str
    id: int | None = None


class Receipt(Frame, tag="receipt", frozen=True):
    """Which targets have acked an event that asked for it.

    Attributes:
        seq: the event that asked for the receipt.
        acked: targets that have acked it.
        missing: targets that have not.
        complete: whether what the event required is met.
    """

    conv: str
    seq: Seq
    acked: list[str]
    missing: list[str]
    complete: bool


class Bye(Frame, tag="bye", frozen=True):
    """The server ends the session; the range of ``code`` says what to do next.

    Attributes:
        code: close code; its range says what to do.
        reason: what happened, for people.
    """

    code: CloseNumber
    reason: str
    retry_after: Millis | None = None


class GroupRow(Struct, frozen=True):
    """A row of ``list_groups``: ``members`` is their count, ``seq`` the head.

    Attributes:
        conv: name of the group's conversation.
        role: the asking robot's role; null if it is no member.
        members: count of the members.
        seq: head of the log.
    """

    conv: str
    role: Role | None
    members: int
    seq: int


class MemberRow(Struct, frozen=True):
    """A row of ``list_members``: ``since`` is the seq that added it, ``acked`` its furthest cursor.

    Attributes:
        robot: name of the member.
        role: its role.
        online: whether any of its devices has a session.
        since: seq of the event that added it.
        acked: furthest cursor of its devices, 0 if none ever acked.
    """

    robot: str
    role: Role
    online: bool
    since: int
    acked: int


class RobotRow(Struct, frozen=True):
    """A row of ``list_robots``; ``registered`` is in milliseconds since 1970.

    Attributes:
        robot: name of the robot.
        online: whether any of its devices has a session.
        registered: when it was registered, in milliseconds since 1970.
    """

    robot: str
    online: bool
    registered: int


class Identity(Struct, frozen=True):
    """The answer to ``whoami``.

    Attributes:
        robot: name of the robot.
        device: name of the device.
        session: id of the session.
        node: name of the server process that serves this connection.
    """

    robot: str
    device: str
    session: str
    node: str


class HttpPass(Struct, frozen=True):
    """The answer to ``http_token``.

    Attributes:
        token: a bearer token.
        expires: until when it is good, in milliseconds since 1970.
    """

    token: str
    expires: int


class Changed(Struct, frozen=True, omit_defaults=True):
    """The answer to a change of a group: the seq of the event that records it.

    Attributes:
        seq: seq of the event that records the change.
        conv: name of the new conversation (``create_group`` only).
    """

    seq: int
    conv: str | None = None


class Presence(Struct, frozen=True):
    """The body of an ``@presence`` signal; ``since`` is in milliseconds since 1970.

    Attributes:
        online: whether the robot is online now.
        how: how it came or went: ``clean``, with a goodbye of its own, or with one of its node's that it
            answered; ``lost``, its connection or its node broke down; ``replaced``, by another connection.
        since: from when on, in milliseconds since 1970.
    """

    online: bool
    how: str
    since: int


PRESENCE_KEY = "@presence"

ServerFrame: TypeAlias = (
    Challenge
    | Welcome
    | Sent
    | Ok
    | Pong
    | Error
    | Deliver
    | SignalValue
    | StreamChunk
    | Head
    | Gap
    | Receipt
    | Bye
)
