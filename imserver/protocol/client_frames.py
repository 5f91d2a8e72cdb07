"""The frames a client sends. ``id`` is a number of the client's choice that the answer carries back."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Raw, Struct

from imserver.protocol.events import MESSAGE, Role, Seq
from imserver.protocol.limits import CID_CHARS_MAX, KIND_CHARS_MAX, SIGNAL_KEY_CHARS_MAX

RequestId = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Cid = Annotated[str, Meta(min_length=1, max_length=CID_CHARS_MAX)]
Kind = Annotated[str, Meta(min_length=1, max_length=KIND_CHARS_MAX)]
SignalKey = Annotated[str, Meta(min_length=1, max_length=SIGNAL_KEY_CHARS_MAX)]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Limit = Annotated[int, Meta(ge=1)]
Window = Annotated[int, Meta(ge=1)]


class Position(Struct, frozen=True, gc=False):
    """A place in a conversation's log: everything up to ``seq`` under ``epoch`` is known."""

    epoch: str
    seq: Seq


class Frame(Struct, tag_field="t", frozen=True, omit_defaults=True):
    """The base of every frame a client sends."""


class Register(Frame, tag="register", frozen=True):
    """Bind a robot's name to a public key, with an enrolment token. Before ``hello``."""

    id: RequestId
    robot: str
    token: str
    public_key: PublicKey


class Hello(Frame, tag="hello", frozen=True):
    """Open the session, with a bearer token, or without one and a ``challenge`` follows."""

    robot: str
    device: str = "main"
    token: str | None = None
    resume: dict[str, Position] = {}
    window: Window = 1024
    auto: bool = True
    instance: str | None = None


class Prove(Frame, tag="prove", frozen=True):
    """Answer a ``challenge`` with the Ed25519 signature over `proof.signed_text`."""

    signature: Signature


class Send(Frame, tag="send", frozen=True, gc=False):
    """Append an event to a conversation. Sending the same ``cid`` again is safe."""

    id: RequestId
    conv: str
    cid: Cid
    body: Raw
    kind: Kind = MESSAGE
    ref: Seq | None = None
    require: str | None = None
    targets: list[str] | None = None


class Ack(Frame, tag="ack", frozen=True, gc=False):
    """Say that everything up to ``seq`` of the conversation is processed on this device."""

    conv: str
    seq: Seq


class Follow(Frame, tag="follow", frozen=True):
    """Receive a conversation from after ``after`` on (a session with ``auto`` has no need to ask)."""

    id: RequestId
    conv: str
    after: Seq | Literal["latest"]


class Unfollow(Frame, tag="unfollow", frozen=True):
    """Receive a conversation no longer."""

    id: RequestId
    conv: str


class History(Frame, tag="history", frozen=True):
    """Read a page of the log, forwards from ``after`` or backwards from ``before``.

    ``view`` is ``events`` (the log as it is) or ``messages`` (edits and redactions folded in).
    """

    id: RequestId
    conv: str
    after: Seq | None = None
    before: Seq | None = None
    limit: Limit = 100
    view: Literal["events", "messages"] = "events"


class Signal(Frame, tag="signal", frozen=True, gc=False):
    """Tell the members who are online a value of which only the latest counts; not stored."""

    conv: str
    key: SignalKey
    body: Raw


class Chunk(Frame, tag="chunk", frozen=True, gc=False):
    """Add a piece to an open stream."""

    conv: str
    seq: Seq
    n: Annotated[int, Meta(ge=0)]
    data: str


class Stop(Frame, tag="stop", frozen=True):
    """End somebody's stream where the person stopped reading."""

    id: RequestId
    conv: str
    seq: Seq
    seen: Annotated[int, Meta(ge=0)]


class CreateGroup(Frame, tag="create_group", frozen=True):
    """Create a group and own it."""

    id: RequestId
    name: str
    members: list[str] = []
    open: bool = False


class DeleteGroup(Frame, tag="delete_group", frozen=True):
    """End a group for all its members."""

    id: RequestId
    conv: str


class Join(Frame, tag="join", frozen=True):
    """Become a member of an open group."""

    id: RequestId
    conv: str


class Leave(Frame, tag="leave", frozen=True):
    """Stop being a member of a group."""

    id: RequestId
    conv: str


class AddMembers(Frame, tag="add_members", frozen=True):
    """Add robots to a group."""

    id: RequestId
    conv: str
    robots: Annotated[list[str], Meta(min_length=1)]
    role: Role = Role.MEMBER


class RemoveMembers(Frame, tag="remove_members", frozen=True):
    """Remove robots from a group."""

    id: RequestId
    conv: str
    robots: Annotated[list[str], Meta(min_length=1)]


class SetRole(Frame, tag="set_role", frozen=True):
    """Give a member another role."""

    id: RequestId
    conv: str
    robot: str
    role: Role


class ListGroups(Frame, tag="list_groups", frozen=True):
    """List the groups one is a member of, by name."""

    id: RequestId
    after: str | None = None
    limit: Limit = 100


class ListMembers(Frame, tag="list_members", frozen=True):
    """List the members of a conversation, by name."""

    id: RequestId
    conv: str
    after: str | None = None
    limit: Limit = 100


class ListRobots(Frame, tag="list_robots", frozen=True):
    """List the registered robots, by name."""

    id: RequestId
    after: str | None = None
    limit: Limit = 100


class WhoAmI(Frame, tag="whoami", frozen=True):
    """Ask under which name, device and session one is known."""

    id: RequestId


class Ping(Frame, tag="ping", frozen=True):
    """Ask for the server's clock."""

    id: RequestId


ClientFrame: TypeAlias = (
    Register
    | Hello
    | Prove
    | Send
    | Ack
    | Follow
    | Unfollow
    | History
    | Signal
    | Chunk
    | Stop
    | CreateGroup
    | DeleteGroup
    | Join
    | Leave
    | AddMembers
    | RemoveMembers
    | SetRole
    | ListGroups
    | ListMembers
    | ListRobots
    | WhoAmI
    | Ping
)
