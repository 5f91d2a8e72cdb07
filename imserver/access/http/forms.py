"""How a stream writes what it is given: server-sent events (the HTML standard, 9.2), or a line of JSON each.

Both are made once for all streams that want them. A line of JSON must stay one line for every reader, also
for those that part lines wherever Unicode does; so the separators that JSON leaves alone are escaped.
"""

from typing import Final, Protocol

import msgspec
from msgspec import Raw, Struct

from imserver.access.http.shapes import Goodbye, Hole, in_json
from imserver.protocol import bodies
from imserver.protocol.server_frames import Deliver, Head, PackedDeliver, SignalValue

_encode = msgspec.json.Encoder().encode
_SEPARATORS: Final = (
    ("\x85".encode(), b"\\u0085"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


class StreamForm(Protocol):
    """A `Form` for streams.

    Attributes:
        media_type: what it is called.
    """

    media_type: str

    def encode(self, frame: Struct) -> bytes:
        """Return the bytes of a frame; of one that says nothing here, those of a sign of life."""

    def opening(self, *, retry_ms: int) -> bytes:
        """Return what a stream begins with."""

    def hole(self, hole: Hole, *, goes_on_behind: int) -> bytes:
        """Return the bytes that tell of missing events; a reader resumes behind seq ``goes_on_behind``."""

    def goodbye(self, goodbye: Goodbye) -> bytes:
        """Return the bytes of the end."""

    @property
    def sign_of_life(self) -> bytes:
        """Bytes that say nothing but that the stream is there."""


class EventStream:
    """Server-sent events: ``id`` is seq, ``data`` the event; what else there is to say is named."""

    media_type = "text/event-stream"
    sign_of_life = b":\n\n"

    def encode(self, frame: Struct) -> bytes:
        match frame:
            case Deliver() | PackedDeliver():
                return b"".join(
                    b"id: %d\ndata: %b\n\n" % (event.seq, _line(event))
                    for event in in_json(frame.events)
                )
            case SignalValue():
                return b"event: signal\ndata: %b\n\n" % _line(_signal(frame))
            case Head():
                return b": %b is at %d\n\n" % (frame.conv.encode(), frame.seq)
        return self.sign_of_life

    def opening(self, *, retry_ms: int) -> bytes:
        return b"retry: %d\n\n" % retry_ms

    def hole(self, hole: Hole, *, goes_on_behind: int) -> bytes:
        return b"event: gap\nid: %d\ndata: %b\n\n" % (goes_on_behind, _line(hole))

    def goodbye(self, goodbye: Goodbye) -> bytes:
        retry = b"" if goodbye.retry_after is None else b"retry: %d\n" % goodbye.retry_after
        return retry + b"event: bye\ndata: %b\n\n" % _line(goodbye)


class JsonLines:
    """A line of JSON for each event; what else there is to say has a ``t``, as the frames of the wire."""

    media_type = "application/x-ndjson"
    sign_of_life = b"\n"

    def encode(self, frame: Struct) -> bytes:
        match frame:
            case Deliver() | PackedDeliver():
                return b"".join(_line(event) + b"\n" for event in in_json(frame.events))
            case SignalValue():
                return _tagged("signal", _signal(frame))
        return self.sign_of_life

    def opening(self, *, retry_ms: int) -> bytes:
        return b""

    def hole(self, hole: Hole, *, goes_on_behind: int) -> bytes:
        return _tagged("gap", hole)

    def goodbye(self, goodbye: Goodbye) -> bytes:
        return _tagged("bye", goodbye)


EVENT_STREAM: Final = EventStream()
JSON_LINES: Final = JsonLines()
FORMS: Final[tuple[StreamForm, ...]] = (EVENT_STREAM, JSON_LINES)


class _Signal(Struct, frozen=True):
    conv: str
    sender: str
    key: str
    body: Raw
    rev: int


def _signal(frame: SignalValue) -> _Signal:
    body = bodies.to_json(frame.body)
    return _Signal(frame.conv, frame.sender, frame.key, body, frame.rev)


def _line(value: Struct) -> bytes:
    text = _encode(value)
    for separator, escaped in _SEPARATORS:
        text = text.replace(separator, escaped)
    return text


def _tagged(tag: str, value: Struct) -> bytes:
    return b'{"t":"%b",%b\n' % (tag.encode(), _line(value)[1:])
