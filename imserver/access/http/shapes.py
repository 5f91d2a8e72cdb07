"""What travels over HTTP in JSON: the frames of the wire without what the path and the headers say already.

Their fields mean what they mean on the wire. A test holds each shape to its frame, so that neither gains a
field without the other.
"""

from typing import Any

from msgspec import Raw, Struct, structs

from imserver.protocol import bodies
from imserver.protocol.client_frames import Kind
from imserver.protocol.events import MESSAGE, Event, Seq
from imserver.protocol.server_frames import Gap


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


class Page(Struct, frozen=True, omit_defaults=True):
    """A part of a log.

    Attributes:
        conv: name of the conversation.
        epoch: epoch of its log; it changes only when the log was restored and may have lost a tail.
        seq: head of the log, the seq of its last event.
        events: events in log order; none if there is nothing further in the direction asked for.
        gap: what is missing before them, if events in the direction asked for were let go.
    """

    conv: str
    epoch: str
    seq: int
    events: list[Event]
    gap: Hole | None = None


def hole(gap: Gap) -> Hole:
    """Return a gap of the wire as HTTP tells it."""
    return Hole(gap.conv, gap.epoch, gap.from_, gap.to, gap.to - gap.from_ + 1, gap.why)


def in_json(events: list[Event]) -> list[Event]:
    """Return stored events with their bodies in JSON."""
    return [structs.replace(event, body=bodies.to_json(event.body)) for event in events]


def fields_of(shape: Struct) -> dict[str, Any]:
    """Return a shape's fields, from which its frame is made."""
    return structs.asdict(shape)
