"""Frames to bytes and back, in MessagePack and in JSON.

A codec is stateless and shared by all connections. Encoding for JSON turns the stored MessagePack bodies
into JSON on the way. Source of the formats: the MessagePack specification and RFC 8259, as msgspec
implements them.
"""

from typing import Annotated, Any, Final, Protocol, get_args

import msgspec
from msgspec import Meta, Raw, Struct, inspect, structs

from imserver.protocol import bodies
from imserver.protocol.client_frames import ClientFrame
from imserver.protocol.events import Event
from imserver.protocol.limits import BODY_DEPTH_MAX
from imserver.protocol.server_frames import Deliver, Ok, PackedDeliver, ServerFrame, SignalValue

SUBPROTOCOL_MSGPACK: Final = "imserver.v1.msgpack"
SUBPROTOCOL_JSON: Final = "imserver.v1.json"
_ENDS_CHARS: Final = 150


class InvalidFrame(ValueError):
    """Bytes are not a frame; ``request_id`` is set when at least the ``id`` could be read."""

    def __init__(self, message: str, request_id: int | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class Codec(Protocol):
    """One way to write frames. ``binary`` says whether its messages are binary or text."""

    name: str
    binary: bool

    def encode(self, frame: Struct) -> bytes:
        """Return a frame as bytes; bodies inside it must be in MessagePack."""

    def decode_client(self, message: bytes) -> ClientFrame:
        """Return the client's frame in a message.

        Raises:
            InvalidFrame: it is malformed, of unknown type, or a field is missing or of a wrong type.
        """

    def decode_server(self, message: bytes) -> ServerFrame:
        """Return the server's frame in a message; its bodies stay in this codec.

        Raises:
            InvalidFrame: as above.
        """

    def canonical_body(self, body: Raw) -> bytes:
        """Check a body that came in this codec and return it as MessagePack.

        Raises:
            bodies.InvalidBody: it is malformed or not allowed.
        """

    def decode_body(self, body: Raw) -> Any:
        """Return the value of a body that came in this codec.

        Raises:
            bodies.InvalidBody: it is malformed. Reading a frame only finds where a body begins and ends.
        """


class _AnyId(Struct):
    """What may have been meant as an ``id``: any number that an `error` can carry back."""

    id: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class _Decoders:
    def __init__(self, module: Any) -> None:
        self.client = module.Decoder(ClientFrame).decode
        self.server = module.Decoder(ServerFrame).decode
        self.body = module.Decoder().decode
        self._request_id = module.Decoder(_AnyId).decode

    def invalid(self, message: bytes, reason: Exception) -> InvalidFrame:
        if isinstance(reason, RecursionError):
            return InvalidFrame(
                f"the frame is nested too deep; {BODY_DEPTH_MAX} levels are the most"
            )
        try:
            request_id = self._request_id(message).id
        except _UNDECODABLE:
            request_id = None
        text = _shortened(str(reason))
        if text.endswith("`$.t`"):
            text = f"unknown type of frame: {text}; `t` is one of {_TYPES}"
        field = text.rstrip("`").rpartition(".")[2]
        if text.startswith("Invalid enum value") and field in _CHOICES:
            text = f"{text}; `{field}` is one of {_CHOICES[field]}"
        return InvalidFrame(text, request_id)


def _choices(kind: inspect.Type) -> list[str]:
    """Return what may stand in a field that takes one of several words."""
    match kind:
        case inspect.LiteralType(values=words):
            return [str(word) for word in words]
        case inspect.EnumType(cls=words):
            return [str(word.value) for word in words]
        case inspect.UnionType(types=(inspect.IntType(), inspect.LiteralType(values=words))):
            return [*map(str, words), "a number"]
    return []


_TYPES: Final = ", ".join(sorted(str(kind.__struct_config__.tag) for kind in get_args(ClientFrame)))
_CHOICES: Final = {
    field.encode_name: ", ".join(choices)
    for kind in get_args(ClientFrame)
    for field in inspect.type_info(kind).fields  # type: ignore[attr-defined]
    if (choices := _choices(field.type))
}
_UNDECODABLE: Final = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)


class _Reader:
    """What the codecs have in common: reading frames, and saying what is wrong with what is none."""

    def __init__(self, module: Any) -> None:
        self._decoders = _Decoders(module)

    def decode_client(self, message: bytes) -> ClientFrame:
        try:
            frame: ClientFrame = self._decoders.client(message)
        except _UNDECODABLE as exc:
            raise self._decoders.invalid(message, exc) from None
        return frame

    def decode_server(self, message: bytes) -> ServerFrame:
        try:
            frame: ServerFrame = self._decoders.server(message)
        except _UNDECODABLE as exc:
            raise self._decoders.invalid(message, exc) from None
        return frame

    def decode_body(self, body: Raw) -> Any:
        try:
            return self._decoders.body(body)
        except _UNDECODABLE as exc:
            reason = _shortened(str(exc))
            raise bodies.InvalidBody(f"the body cannot be read: {reason}") from exc


class MsgpackCodec(_Reader):
    """MessagePack in binary messages: the default."""

    name = SUBPROTOCOL_MSGPACK
    binary = True

    def __init__(self) -> None:
        super().__init__(msgspec.msgpack)
        self._encoder = msgspec.msgpack.Encoder()
        self.encode = self._encoder.encode
        self.canonical_body = bodies.from_msgpack


class JsonCodec(_Reader):
    """JSON in text messages: for browsers and for reading by eye."""

    name = SUBPROTOCOL_JSON
    binary = False

    def __init__(self) -> None:
        super().__init__(msgspec.json)
        self._encoder = msgspec.json.Encoder()
        self.canonical_body = bodies.from_json

    def encode(self, frame: Struct) -> bytes:
        match frame:
            case Deliver() | PackedDeliver():
                events = _events_for_json(frame.events)
                frame = Deliver(frame.conv, frame.epoch, events)
            case Ok() if frame.events is not None:
                frame = structs.replace(frame, events=_events_for_json(frame.events))
            case SignalValue():
                frame = structs.replace(frame, body=bodies.to_json(frame.body))
        return self._encoder.encode(frame)


def _shortened(message: str) -> str:
    """Keep both ends of a message that quotes what a client sent: what is wrong, and where."""
    if len(message) <= 2 * _ENDS_CHARS:
        return message
    return f"{message[:_ENDS_CHARS]}…{message[-_ENDS_CHARS:]}"


def _events_for_json(events: list[Event]) -> list[Event]:
    return [structs.replace(event, body=bodies.to_json(event.body)) for event in events]


MSGPACK: Final[Codec] = MsgpackCodec()
JSON: Final[Codec] = JsonCodec()
BY_SUBPROTOCOL: Final[dict[str, Codec]] = {SUBPROTOCOL_MSGPACK: MSGPACK, SUBPROTOCOL_JSON: JSON}
