"""The description of the HTTP API that `/schema` gives: OpenAPI 3.1, written from routes and shapes."""

from typing import Any, Final

from litestar.enums import MediaType
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Server

from imserver import __version__

BEARER: Final = "bearer"

_DESCRIPTION: Final = """\
Everything a robot can do over a WebSocket that needs no connection, for whatever speaks HTTP. Frames, fields
and rules are those of the protocol. Errors are problem details (RFC 9457) with the protocol's error codes."""


def configuration() -> OpenAPIConfig:
    """Return how Litestar describes the routes."""
    scheme = SecurityScheme(
        type="http", scheme="bearer", description="A bearer token from `imserver token`."
    )
    return OpenAPIConfig(
        title="imserver",
        version=__version__,
        description=_DESCRIPTION,
        path="/schema",
        servers=[Server(url="/")],
        components=Components(security_schemes={BEARER: scheme}),
        use_handler_docstrings=True,
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"], media_type=MediaType.JSON)],
    )


def answered_with(shape: Any, description: str) -> ResponseSpec:
    """Return the description of an answer in JSON."""
    return ResponseSpec(shape, generate_examples=False, description=description)
