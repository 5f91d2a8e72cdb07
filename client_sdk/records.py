"""The values that the SDK hands to its users. Frozen; nothing here waits or knows the network."""

from typing import Any, Final

from msgspec import Struct

from client_sdk.sealed.outcome import Seal
from client_sdk.states import State

RESTORED: Final = "restored"
RENUMBERING: Final = frozenset({RESTORED, "ahead"})
"""Why a gap may mean that numbers are given anew."""


class Event(Struct, frozen=True, gc=False):
    """One entry of a conversation's log.

    Attributes:
        conv: conversation, ``g/<group>`` or ``d/<robot>/<robot>``.
        epoch: changes only when the log was restored from a backup; may be empty in `history` answers of
            conversations that this robot does not receive.
        seq: place in the log, 1, 2, 3, … without gaps.
        ts: milliseconds since 1970 by the server's clock.
        sender: robot that caused it.
        cid: the sender's own name for it.
        kind: ``message``, ``edit``, ``group_created``, …
        ref: seq of the event that this one answers, edits or ends.
        body: the value that was sent (bytes arrive as base64 text if the codec is JSON). In a sealed
            conversation an `Unopened` that says why, if it could not be opened.
        seal: how it was sealed, if it came sealed and was opened; None for all that the server could have
            written itself.
    """

    conv: str
    epoch: str
    seq: int
    ts: int
    sender: str
    cid: str
    kind: str
    ref: int | None
    body: Any
    seal: Seal | None = None


class Gap(Struct, frozen=True):
    """Events ``first`` to ``last`` of a log that will not be delivered, and why.

    Attributes:
        epoch: the epoch in which the log goes on.
        last: one less than ``first`` if nothing is known to be lost and the log only has a new epoch.
        why: ``retention`` if they were deleted for their age; ``restored`` if the log was restored from a
            backup, ``ahead`` if the server lost its tail without: their numbers are given to other events.
            Anything else is a server's refusal, in its words.
        after: seq behind which the log goes on.
    """

    conv: str
    epoch: str
    first: int
    last: int
    why: str
    after: int


class Waiting(Struct, frozen=True):
    """A send in the robot's memory that is neither stored nor refused yet, as far as is known.

    ``created_ms`` is in milliseconds since 1970 by this machine's clock; the other fields are those of
    `Robot.send`.
    """

    conv: str
    cid: str
    kind: str
    ref: int | None
    body: Any
    created_ms: int


class Sent(Struct, frozen=True, gc=False):
    """A stored event's place. ``dup``: its cid had been stored before, and this is where.

    ``ts`` is in milliseconds since 1970 by the server's clock.
    """

    conv: str
    epoch: str
    seq: int
    ts: int
    dup: bool


class Upload(Struct, frozen=True):
    """An uploaded file, as the body of an event of kind ``file`` tells of it.

    Attributes:
        file: its id.
        name: its name, without a path.
        type: its media type, guessed from the name.
        size: how many bytes it has.
        sha256: digest of the whole, in hex.
    """

    file: str
    name: str
    type: str
    size: int
    sha256: str


class Signal(Struct, frozen=True):
    """The latest value of a sender's signal; ``@presence`` is the server's own key."""

    conv: str
    sender: str
    key: str
    body: Any
    rev: int


class ClockReading(Struct, frozen=True):
    """What a `ping` tells.

    Attributes:
        round_trip_ms: from question to answer.
        offset_ms: server's clock minus this machine's, off by half of ``round_trip_ms`` at most.
        server_ms: milliseconds since 1970 by the server's clock when it answered.
    """

    round_trip_ms: float
    offset_ms: float
    server_ms: int


class Statistics(Struct, frozen=True):
    """A snapshot of a robot's counters since it was made.

    Attributes:
        state: where the connection is.
        connections: sessions opened; one less than this many reconnects.
        sent: sends that were stored, also those found stored before.
        resent: sends written again with the same cid, after a lost connection or a temporary refusal.
        received: events handed to the application.
        repeated: events that came again and were not shown again.
        repairs: times a hole showed and the missing part was asked for.
        gaps: holes that will not be filled.
        queued: events received and not yet taken by the application.
        pending: requests without an answer yet.
        signals_dropped: signals given up because nobody read them.
        frames_ignored: frames that were not understood.
    """

    state: State
    connections: int
    sent: int
    resent: int
    received: int
    repeated: int
    repairs: int
    gaps: int
    queued: int
    pending: int
    signals_dropped: int
    frames_ignored: int
