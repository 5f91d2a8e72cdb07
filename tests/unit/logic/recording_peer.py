"""A client without a connection: keeps every frame it is given, in order; the test sets how full it is."""

from typing import Any, TypeVar

from msgspec import Raw, Struct

from imserver.logic.session import Session, Sessions
from imserver.protocol.codec import MSGPACK
from imserver.protocol.events import Event
from imserver.protocol.server_frames import Deliver, PackedDeliver
from imserver.protocol.shared_frame import SharedFrame

F = TypeVar("F", bound=Struct)


class RecordingPeer:
    """A `Peer` of the logic tier. While ``congested`` it takes no pushes and keeps the latest signals.

    Attributes:
        frames: what was queued for the client, in order.
        pushed: the shared ones among them, as they are shared.
        congested: whether its buffer is above the high-water mark, as the test says.
        room: pushes until it becomes congested by itself, or None for any number.
        closed: the close code and reason, once it was closed.
    """

    def __init__(self, *, room: int | None = None) -> None:
        self.frames: list[Struct] = []
        self.pushed: list[SharedFrame] = []
        self.congested = False
        self.room = room
        self.closed: tuple[int, str] | None = None
        self._signals: dict[tuple[str, str, str], SharedFrame] = {}

    @property
    def is_closed(self) -> bool:
        return self.closed is not None

    def send(self, frame: Struct) -> None:
        self._take(frame)

    def answer(self, frame: Struct) -> None:
        self._take(frame)

    def push(self, shared: SharedFrame) -> bool:
        if self.congested or self.closed is not None:
            return False
        self.pushed.append(shared)
        self._take(shared.frame)
        if self.room is not None:
            self.room -= 1
            self.congested = self.room <= 0
        return True

    def signal(self, key: tuple[str, str, str], shared: SharedFrame) -> None:
        if not self.push(shared):
            self._signals[key] = shared

    def close(self, code: int, reason: str, *, retry_after_ms: int | None = None) -> None:
        if self.closed is None:
            self.closed = (code, reason)

    def drain(self, sessions: Sessions, session: Session, *, room: int | None = None) -> None:
        """Let the client read everything, and tell logic so, as a connection does."""
        self.congested = False
        self.room = room
        signals, self._signals = self._signals, {}
        self.frames.extend(shared.frame for shared in signals.values())
        sessions.on_drained(session)

    def of(self, kind: type[F]) -> list[F]:
        """Return the frames of one kind, in order."""
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def last(self, kind: type[F]) -> F:
        """Return the last frame of one kind."""
        return self.of(kind)[-1]

    def delivered(self, conv: str) -> list[Event]:
        """Return the events of a conversation, as they came."""
        return [e for frame in self.of(Deliver) if frame.conv == conv for e in frame.events]

    def seqs(self, conv: str) -> list[int]:
        """Return the seqs of the events of a conversation, as they came."""
        return [event.seq for event in self.delivered(conv)]

    def _take(self, frame: Struct) -> None:
        if isinstance(frame, PackedDeliver):  # what a client reads does not tell the two apart
            frame = Deliver(frame.conv, frame.epoch, frame.events)
        if self.closed is None:
            self.frames.append(frame)


def value(body: Raw | bytes) -> Any:
    """Return what a body in MessagePack says."""
    return MSGPACK.decode_body(Raw(bytes(body)))
