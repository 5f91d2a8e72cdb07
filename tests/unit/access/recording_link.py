"""A transport that goes nowhere: keeps what a connection writes and how it was told to read and close."""

from typing import Any, TypeVar

from msgspec import Struct

from imserver.access.connection import Connection
from imserver.access.context import Context
from imserver.protocol.codec import MSGPACK, Codec
from imserver.protocol.server_frames import Error, ServerFrame

F = TypeVar("F", bound=Struct)


class BareForm:
    """A codec without framing."""

    def __init__(self, codec: Codec) -> None:
        self.encode = codec.encode


class RecordingLink:
    """A `Link` whose congestion the test sets.

    Attributes:
        frames: what was written, decoded.
        reading: whether the client is read from.
        closes: the close codes it was given.
    """

    def __init__(self, codec: Codec = MSGPACK) -> None:
        self.form = BareForm(codec)
        self.congested = False
        self.source = "192.0.2.1"
        self.reading = True
        self.frames: list[ServerFrame] = []
        self.closes: list[int] = []
        self._codec = codec

    def write(self, framed: bytes) -> None:
        self.frames.append(self._codec.decode_server(framed))

    push = write

    def close(self, code: int, reason: str) -> None:
        self.closes.append(code)

    def sign_of_life(self) -> bool | None:
        return not self.closes

    def pause_reading(self) -> None:
        assert self.reading, "reading is paused once"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "reading is resumed once"
        self.reading = True


class Client:
    """A connection with its link, spoken to in frames."""

    def __init__(self, context: Context, codec: Codec = MSGPACK) -> None:
        self.link = RecordingLink(codec)
        self.codec = codec
        self.connection = Connection(self.link, codec, context)

    def say(self, *frames: Struct) -> None:
        """Send frames, in one go."""
        for frame in frames:
            self.connection.on_message(self.codec.encode(frame))

    def is_read(self) -> bool:
        """Tell whether the client is read from."""
        return self.link.reading

    @property
    def frames(self) -> list[Any]:
        """Return what the client was given."""
        return list(self.link.frames)

    def of(self, kind: type[F]) -> list[F]:
        """Return the frames of one kind, in order."""
        return [frame for frame in self.link.frames if isinstance(frame, kind)]

    @property
    def last_error(self) -> Error:
        """Return the last error the client was given."""
        return self.of(Error)[-1]
