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
Instance = Annotated[str, Meta(max_length=64)]
Boot = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Limit = Annotated[int, Meta(ge=1)]
Window = Annotated[int, Meta(ge=1)]


class Position(Struct, frozen=True, gc=False):
    """A place in a conversation's log: everything up to ``seq`` under ``epoch`` is known.

    Attributes:
        epoch: epoch of the log that ``seq`` belongs to, from ``welcome`` or ``deliver``.
        seq: last event that is known; 0 for none.
    """

    epoch: str
    seq: Seq


class Frame(Struct, tag_field="t", frozen=True, omit_defaults=True):
    """The base of every frame a client sends.

    A field means the same wherever it occurs; frames describe only what is special to them.

    Attributes:
        id: number of the client's choice; the answer carries it back.
        conv: name of the conversation, ``g/<name>`` or ``d/<robot>/<robot>``.
        robot: name of the robot.
        robots: names of the robots.
        seq: place in the conversation's log.
        body: any value within the rules for bodies.
        after: last name of the page before, to get the next one; left out for the first.
        limit: most rows in the answer; up to ``page_max``.
    """


class Register(Frame, tag="register", frozen=True):
    """Bind a robot's name to a public key, with an enrolment token. Before ``hello``.

    Attributes:
        robot: name to bind; it is unique for good.
        token: enrolment token that an operator minted for this name; good once.
        public_key: the robot's Ed25519 public key.
    """

    id: RequestId
    robot: str
    token: str
    public_key: PublicKey


class Hello(Frame, tag="hello", frozen=True):
    """Open the session, with a bearer token, or without one and a ``challenge`` follows.

    Attributes:
        robot: name under which to open the session.
        device: which of the robot's devices this is; each has cursors of its own, and one session
            at a time.
        token: bearer token; without one a ``challenge`` follows.
        resume: what this device already has, by conversation, where it knows better than its last
            acks.
        window: most events of a conversation in flight beyond the acks; the server lowers it to
            ``window_max``.
        auto: deliver all conversations of the robot, also those to come; otherwise ``follow`` them
            one by one.
        instance: random text chosen anew by each process of the robot; free to leave out.
        boot: how many times the robot's program was started, this time included, counted beside its key;
            with ``instance``, by it a restart is told from a second machine. Free to leave out.
    """

    robot: str
    device: str = "main"
    token: str | None = None
    resume: dict[str, Position] = {}
    window: Window = 1024
    auto: bool = True
    instance: Instance | None = None
    boot: Boot | None = None


class Prove(Frame, tag="prove", frozen=True):
    """Answer a ``challenge`` with a signature by the robot's key (Ed25519).

    Attributes:
        signature: over the UTF-8 text ``imserver.v1 <server> <nonce> <robot> <device>``, single
            spaces.
    """

    signature: Signature


class Send(Frame, tag="send", frozen=True, gc=False):
    """Append an event to a conversation. Sending the same ``cid`` again is safe.

    Attributes:
        cid: the sender's own name for the event, new for each event and the same in each retry; not
            with ``@`` first.
        kind: what the event is, by the rule for names; the server's own kinds are refused.
        ref: seq of the event that this one answers, edits, redacts or ends.
        require: which acks make a receipt complete; refused as ``unsupported`` so far.
        targets: robots whose acks count for the receipt; refused as ``unsupported`` so far.
    """

    id: RequestId
    conv: str
    cid: Cid
    body: Raw
    kind: Kind = MESSAGE
    ref: Seq | None = None
    require: str | None = None
    targets: list[str] | None = None


class Ack(Frame, tag="ack", frozen=True, gc=False):
    """Say that everything up to ``seq`` of the conversation is processed on this device.

    Attributes:
        seq: last event processed; acks are cumulative, and lower ones than before are ignored.
    """

    conv: str
    seq: Seq


class Follow(Frame, tag="follow", frozen=True):
    """Receive a conversation from after ``after`` on (a session with ``auto`` has no need to ask).

    Attributes:
        after: last seq that is known, or ``latest`` for what comes from now on.
    """

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

    Attributes:
        after: read forwards from the event after this seq.
        before: read backwards from the event before this seq; without both, the end of the log is
            read.
        limit: most events in the answer; up to ``page_max``.
        view: ``events`` is the log as it is, ``messages`` folds edits and redactions in.
    """

    id: RequestId
    conv: str
    after: Seq | None = None
    before: Seq | None = None
    limit: Limit = 100
    view: Literal["events", "messages"] = "events"


class Signal(Frame, tag="signal", frozen=True, gc=False):
    """Tell the members who are online a value of which only the latest counts; not stored.

    Attributes:
        key: which of the sender's values this is; not with ``@`` first.
    """

    conv: str
    key: SignalKey
    body: Raw


class Chunk(Frame, tag="chunk", frozen=True, gc=False):
    """Add a piece to an open stream.

    Attributes:
        seq: the stream: the seq of the event that opened it.
        n: number of the piece: 0, 1, 2, …
        data: the piece of text.
    """

    conv: str
    seq: Seq
    n: Annotated[int, Meta(ge=0)]
    data: str


class Stop(Frame, tag="stop", frozen=True):
    """End somebody's stream where the person stopped reading.

    Attributes:
        seq: the stream: the seq of the event that opened it.
        seen: ``n`` of the last piece that was shown to the person.
    """

    id: RequestId
    conv: str
    seq: Seq
    seen: Annotated[int, Meta(ge=0)]


class CreateGroup(Frame, tag="create_group", frozen=True):
    """Create a group and own it.

    Attributes:
        name: name of the group, without ``g/``; never used before.
        members: registered robots that are members from the start, besides the creator.
        open: whether any robot may join.
    """

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
    """Add robots to a group.

    Attributes:
        role: role that the added robots get.
    """

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
    """Give a member another role.

    Attributes:
        robot: the member.
        role: its new role.
    """

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


class RotateKey(Frame, tag="rotate_key", frozen=True):
    """Put a new key in the place of one's own. Other sessions that the old one opened are closed.

    Both keys sign the UTF-8 text ``imserver.v1 rotate <server> <session> <robot> <old> <new>``, single
    spaces, keys in lower hexadecimal digits, with the session of ``welcome``. Asking again is safe.

    Attributes:
        public_key: the new Ed25519 public key.
        signature: by the old key, over that text.
        proof: by the new key, over that text.
    """

    id: RequestId
    public_key: PublicKey
    signature: Signature
    proof: Signature


class HttpToken(Frame, tag="http_token", frozen=True):
    """Ask for a bearer token for HTTP, for a robot that proves who it is by a key.

    It is good for some minutes, has the rights of this session, and ends with what let the robot in.
    """

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
    | RotateKey
    | HttpToken
    | Ping
)
