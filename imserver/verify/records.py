"""What stands in a history: one record for each step of an operation, a line of JSON each.

`docs/verify.md` tells the same to those who write histories in other languages. A record is written before
what follows from it: an invocation before the request leaves, an event before it is acked. Then a client
that is killed has never done more than it wrote.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct, field

from imserver.protocol.events import MESSAGE, SEQ_MAX

Seq: TypeAlias = Annotated[int, Meta(ge=1, le=SEQ_MAX)]
Place: TypeAlias = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
Name: TypeAlias = Annotated[str, Meta(min_length=1)]
Sha: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Step: TypeAlias = Literal["invoke", "ok", "fail", "unknown"]


class _Record(
    Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    omit_defaults=True,
    tag_field="op",
    forbid_unknown_fields=True,
):
    """What all records have.

    Attributes:
        t: seconds on a monotonic clock of the session's machine.
        client: robot's name, as it is authenticated.
        session: one life of a client, in which it shows each event once; unique for each client.
        note: anything for people; not looked at.
    """

    t: float
    client: Name
    session: Name
    note: Any = None


class Position(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """How far a client had come: epoch and seq."""

    epoch: str
    seq: Place


class SessionOpen(_Record, frozen=True, kw_only=True, tag="session_open"):
    """A session begins; its first record.

    Attributes:
        device: device of the robot.
        clock: name of the clock behind ``t``; only times of one clock are compared with each other.
        auto: all conversations of the robot are delivered, not only the followed ones.
        admin: it may read and send without being a member.
        resume: what the client itself remembers of its last life, by conversation: exactly what follows
            is due.
    """

    device: Name = "main"
    clock: str = ""
    auto: bool = True
    admin: bool = False
    resume: dict[str, Position] = {}


class SessionClose(_Record, frozen=True, kw_only=True, tag="session_close"):
    """A session ends in good order; its last record. A client that was killed has none.

    Attributes:
        drained: before it ended, nobody changed anything any more and all that was due had time to come.
    """

    drained: bool = False


class Send(_Record, frozen=True, kw_only=True, tag="send"):
    """A step of a send. Its invocation and its outcome have the same session, conv and cid.

    Attributes:
        type: the step; ``fail`` is a definite refusal, ``unknown`` says that nobody can tell.
        conv: the conversation.
        cid: the sender's own name for it. The same again is the same send, retried.
        kind: of the event (invoke).
        ref: seq that it answers, edits or ends (invoke).
        body_sha: hash of the body (invoke).
        epoch: of the conversation (ok).
        seq: its place in the log (ok).
        dup: it had been stored before (ok).
        connection: on which it was written, once; sends of one connection keep their order (ok).
        code: the error's code (fail).
    """

    type: Step
    conv: Name
    cid: Name
    kind: Name = MESSAGE
    ref: Seq | None = None
    body_sha: Sha | None = None
    epoch: str = ""
    seq: Seq | None = None
    dup: bool = False
    connection: str | int | None = None
    code: str = ""


class _Step(_Record, frozen=True, kw_only=True):
    """What the steps of all changes of a group's members have.

    Attributes:
        type: the step, as in a send.
        conv: the group.
        epoch: of the conversation (ok), if known.
        seq: place of the event that records the change (ok).
        code: the error's code (fail).
    """

    type: Step
    conv: Name
    epoch: str = ""
    seq: Seq | None = None
    code: str = ""


class Change(_Step, frozen=True, kw_only=True, tag="change"):
    """A step of a change of a group's members.

    Attributes:
        kind: of the event that records it: ``group_created``, ``members_added``, …
    """

    kind: Name


class Join(_Step, frozen=True, kw_only=True, tag="join"):
    """A step of the client's joining an open group: a change whose kind is ``members_added``."""


class Leave(_Step, frozen=True, kw_only=True, tag="leave"):
    """A step of the client's leaving a group: a change whose kind is ``members_removed``."""


class _Seen(_Record, frozen=True, kw_only=True):
    """What the events that a client sees have.

    Attributes:
        conv, epoch, seq, sender, cid, kind, ref: as it came.
        body_sha: hash of the body that came.
    """

    conv: Name
    epoch: str
    seq: Seq
    sender: Name
    cid: Name
    kind: Name
    ref: Place | None = None
    body_sha: Sha


class Receive(_Seen, frozen=True, kw_only=True, tag="receive"):
    """An event is shown to the application."""


class Read(_Seen, frozen=True, kw_only=True, tag="read"):
    """An event is read by asking for a page of history: as good as a received one, but in any order.

    Attributes:
        epoch: an empty one is unknown.
    """

    epoch: str = ""


class Gap(_Record, frozen=True, kw_only=True, tag="gap"):
    """The client is told that a part of a log will not come.

    Attributes:
        conv, epoch: where.
        from_: first missing seq, ``from`` in JSON.
        to: last missing seq; one less if nothing is missing and there is only a new epoch.
        why: in the server's words; after ``restored`` and ``ahead`` the numbers are given again.
        after: seq behind which the log goes on, if that is known.
    """

    conv: Name
    epoch: str
    from_: Seq = field(name="from")
    to: Place
    why: str = ""
    after: Place | None = None


class Ack(_Record, frozen=True, kw_only=True, tag="ack"):
    """A cursor.

    Attributes:
        type: ``invoke``: the client says it has processed all up to seq. ``ok``: the server says that
            this is what it has stored for the client.
        conv, seq: the cursor.
    """

    type: Literal["invoke", "ok"] = "invoke"
    conv: Name
    seq: Place


class Follow(_Record, frozen=True, kw_only=True, tag="follow"):
    """From here on the client is shown the conversation from after a seq, by its own wish.

    Attributes:
        conv: the conversation.
        after: the next event that is due is the one behind this seq.
    """

    conv: Name
    after: Place


Record: TypeAlias = (
    SessionOpen | SessionClose | Send | Change | Join | Leave | Receive | Read | Gap | Ack | Follow
)
