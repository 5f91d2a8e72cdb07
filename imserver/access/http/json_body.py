"""Request bodies: decoded by the codec of the wire, as strictly as frames are, straight into their shapes."""

from collections.abc import Generator
from typing import Any, ClassVar

import msgspec
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.openapi.spec import Reference, Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition
from msgspec import Raw

from imserver.core.errors import Refusal
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import clip

_UNDECODABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)


def explained(reason: str) -> str:
    """Return why a value is refused; of one that is none of several words, also where these stand."""
    if not reason.startswith("Invalid enum value"):
        return reason
    return f"{reason}; /schema lists what it may be"


class JsonBody(AbstractDTO[Any]):
    """Hands a handler its ``data`` in the shape that its annotation says.

    Litestar on its own would decode to plain values first, and then take texts for numbers and lose the
    body's own bytes.
    """

    _decoders: ClassVar[dict[str, msgspec.json.Decoder[Any]]] = {}

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Prepare the decoder of one handler."""
        cls._decoders[handler_id] = msgspec.json.Decoder(field_definition.annotation)

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Reference | Schema:
        """Describe the shape itself."""
        described: Reference | Schema = schema_creator.for_field_definition(field_definition)
        return described

    @classmethod
    def generate_field_definitions(
        cls, model_type: type[Any]
    ) -> Generator[DTOFieldDefinition, None, None]:
        """Name no fields: the shape is its own model."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Find nothing nested that would need a model of its own."""
        return False

    def decode_bytes(self, value: bytes) -> Any:
        """Return the body in its shape.

        Raises:
            Refusal: ``bad_frame``; the message says where it does not fit.
        """
        decoder = self._decoders[self.asgi_connection.route_handler.handler_id]
        try:
            return decoder.decode(value)
        except _UNDECODABLE as exc:
            message = f"the request's body does not fit: {explained(clip(str(exc), 300))}"
            raise Refusal(ErrorCode.BAD_FRAME, message) from None


class AnyValue(OpenAPISchemaPlugin):
    """Describes bodies, which may be any value."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Tell whether this describes a field."""
        return field_definition.annotation is Raw

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """Return the schema of any value."""
        return Schema(description="any value within the rules for bodies")
