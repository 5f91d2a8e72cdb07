"""What nodes tell each other, as bytes: MessagePack arrays that begin with a tag and the sender.

Nodes of one cluster may differ by a version: fields are only ever added at the end, and what cannot be read
is dropped, like any hint that is lost.
"""

from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from imserver.core.model import Run
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import SignalValue


class Hint(Struct, array_like=True, frozen=True, gc=False):
    """The base of all: ``node`` is the name of the node that says it."""

    node: str


class Committed(Hint, tag="c", frozen=True, gc=False):
    """These events are durable."""

    run: Run


class HeadMoved(Hint, tag="h", frozen=True, gc=False):
    """A log goes up to ``seq``; what was added was too large to be carried."""

    conv: ConversationName
    seq: int


class Signalled(Hint, tag="s", frozen=True, gc=False):
    """A signal has a new value."""

    signal: SignalValue


class Notice(Hint, tag="n", frozen=True, gc=False):
    """Something for every node, which the tiers above can read."""

    body: Raw


class Asked(Hint, tag="q", frozen=True, gc=False):
    """A question to one node; its answer carries the number back. ``seal`` shows that a node wrote it."""

    number: int
    body: Raw
    seal: bytes


class Answered(Hint, tag="a", frozen=True, gc=False):
    """The answer to a question of this number."""

    number: int
    body: Raw
    seal: bytes


AnyHint: TypeAlias = Committed | HeadMoved | Signalled | Notice | Asked | Answered

encode: Final = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AnyHint).decode


_NODE_AT: Final = 3
"""Where the sender stands in a hint: behind one byte of the array and two of the tag."""


def begins_as(node: str) -> bytes:
    """Return how hints of a node go on behind their tag, for `is_of`."""
    return encode(node)


def is_of(payload: bytes, beginning: bytes) -> bool:
    """Tell whether a hint is of a certain node, without reading it: a node hears its own ones, too."""
    return payload.startswith(beginning, _NODE_AT)


def decode(payload: bytes) -> AnyHint | None:
    """Return a hint, or None if it cannot be read."""
    try:
        hint: AnyHint = _decode(payload)
    except msgspec.DecodeError:
        return None
    return hint
