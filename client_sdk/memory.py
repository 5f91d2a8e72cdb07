"""What a robot remembers over its own restart: the port, and the records that go through it.

The machine decides what is to be kept; an engine stores it. Engines: `SqliteMemory` keeps it in a file,
`VolatileMemory` in the process, for tests. Called by `keeper`, in a thread of its own.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct, field


class Owner(Struct, frozen=True):
    """Whose memory it is: a memory serves one device of one robot for good."""

    robot: str
    device: str


class KeptSend(Struct, frozen=True):
    """A send that waits for its answer.

    Attributes:
        number: its place among the sends of this memory, rising; oldest first.
        body: MessagePack, checked.
        created_ms: milliseconds since 1970 by this machine's clock.
    """

    number: int
    conv: str
    cid: str
    kind: str
    ref: int | None
    body: bytes
    created_ms: int


class Keep(Struct, frozen=True):
    """Keep a send."""

    send: KeptSend


class Drop(Struct, frozen=True):
    """Forget the send with this number; it is stored, refused, or not wanted any more."""

    number: int


class Place(Struct, frozen=True):
    """A conversation is processed up to ``seq`` of ``epoch``; it takes the place of the one before."""

    conv: str
    epoch: str
    seq: int


class Bound(Struct, frozen=True):
    """The memory belongs to what happens on this server (its id), and to no other."""

    server: str


class KeptRecord(Struct, frozen=True):
    """A record under a name, for a part of the SDK that keeps more; None forgets it.

    It takes the place of the one before.
    """

    name: str
    value: bytes | None


Change: TypeAlias = Keep | Drop | Place | Bound | KeptRecord


class Recollection(Struct, frozen=True):
    """All that a memory holds.

    Attributes:
        server: id of the server that it belongs to; None if it has seen none yet.
        sends: what waits, oldest first.
        places: one a conversation.
        records: what was kept by name.
    """

    server: str | None
    sends: list[KeptSend]
    places: list[Place]
    records: dict[str, bytes] = field(default_factory=dict)


class Memory(Protocol):
    """Keeps what a robot must not forget. Used from one thread at a time, and it may block.

    Every failure is a `MemoryFileError` whose text says what would be right.
    """

    def open(self, owner: Owner) -> Recollection:
        """Take hold of the memory, for this robot alone, and return what it holds.

        What `write` made durable before is all there, and of a write that was cut off all or nothing.

        Raises:
            MemoryFileError: it is somebody else's, held by another process, damaged, too new, or
                cannot be reached.
        """

    def write(self, changes: Sequence[Change]) -> None:
        """Apply changes in order, all or none; on return they are durable.

        Raises:
            MemoryFileError: whether they are kept is not known; nothing is taken any more until the memory
                was closed and opened again.
        """

    def close(self) -> None:
        """Let go of the memory. Idempotent."""
