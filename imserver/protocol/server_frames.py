"""The frames the server sends, and the rows inside the ``result`` of an ``ok``."""

from typing import Any, TypeAlias

from msgspec import Raw, Struct

from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Event, Role
from imserver.protocol.limits import Limits


class Frame(Struct, tag_field="t", frozen=True, omit_defaults=True):
    """The base of every frame the server sends."""


class ConversationState(Struct, frozen=True):
    """A conversation as ``welcome`` tells it: ``seq`` is its head, ``acked`` this device's cursor."""

    conv: str
    epoch: str
    seq: int
    acked: int


class Challenge(Frame, tag="challenge", frozen=True):
    """What to sign: the nonce is single use and dies with the connection; ``server`` may be pinned."""

    nonce: str
    server: str


class Welcome(Frame, tag="welcome", frozen=True, omit_defaults=False):
    """The session is open; every conversation of the robot with its head and this device's cursor."""

    session: str
    robot: str
    device: str
    now: int
    node: str
    limits: Limits
    conversations: list[ConversationState]


class Sent(Frame, tag="sent", frozen=True, omit_defaults=False, gc=False):
    """The event is durable at ``seq``; ``dup`` if this cid was stored before."""

    id: int
    conv: str
    epoch: str
    seq: int
    ts: int
    dup: bool


class Ok(Frame, tag="ok", frozen=True):
    """A request was carried out; ``events`` answers ``history``, ``result`` the others."""

    id: int
    result: Any = None
    events: list[Event] | None = None


class Pong(Frame, tag="pong", frozen=True, gc=False):
    """The answer to ``ping``: the server's clock in milliseconds since 1970."""

    id: int
    now: int


class Error(Frame, tag="error", frozen=True):
    """A request was refused. ``retry_after`` is in milliseconds; after ``fatal`` the server closes."""

    code: ErrorCode
    message: str
    fatal: bool
    id: int | None = None
    retry_after: int | None = None


class Deliver(Frame, tag="deliver", frozen=True, gc=False):
    """Events of one conversation, in order and without gaps."""

    conv: str
    epoch: str
    events: list[Event]


class SignalValue(Frame, tag="signal", frozen=True, gc=False):
    """The latest value of a sender's signal; ``rev`` grows, older ones may be skipped."""

    conv: str
    sender: str
    key: str
    body: Raw
    rev: int


class StreamChunk(Frame, tag="chunk", frozen=True, gc=False):
    """A piece of an open stream; a late reader first gets one that joins 0 to ``n``."""

    conv: str
    seq: int
    n: int
    data: str


class Head(Frame, tag="head", frozen=True, gc=False):
    """The head of a conversation, told to idle readers so that a loss shows without traffic."""

    conv: str
    epoch: str
    seq: int


class Gap(Frame, tag="gap", frozen=True, rename={"from_": "from"}):
    """A hole from ``from`` to ``to`` that will not be filled, and why."""

    conv: str
    epoch: str
    from_: int
    to: int
    why: str


class Receipt(Frame, tag="receipt", frozen=True):
    """Which targets have acked an event that asked for it."""

    conv: str
    seq: int
    acked: list[str]
    missing: list[str]
    complete: bool


class Bye(Frame, tag="bye", frozen=True):
    """The server ends the session; the ranges of ``code`` say what to do (`errors.CloseCode`)."""

    code: int
    reason: str
    retry_after: int | None = None


class GroupRow(Struct, frozen=True):
    """A row of ``list_groups``: ``members`` is their count, ``seq`` the head."""

    conv: str
    role: Role | None
    members: int
    seq: int


class MemberRow(Struct, frozen=True):
    """A row of ``list_members``: ``since`` is the seq that added it, ``acked`` its furthest cursor."""

    robot: str
    role: Role
    online: bool
    since: int
    acked: int


class RobotRow(Struct, frozen=True):
    """A row of ``list_robots``; ``registered`` is in milliseconds since 1970."""

    robot: str
    online: bool
    registered: int


class Identity(Struct, frozen=True):
    """The answer to ``whoami``."""

    robot: str
    device: str
    session: str
    node: str


class Changed(Struct, frozen=True, omit_defaults=True):
    """The answer to a change of a group: the seq of the event that records it."""

    seq: int
    conv: str | None = None


class Presence(Struct, frozen=True):
    """The body of an ``@presence`` signal; ``since`` is in milliseconds since 1970."""

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
