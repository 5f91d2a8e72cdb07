"""The ASGI application beside the WebSocket endpoint: its routes, and what goes for all of them."""

from typing import Final

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import ResponseHeader
from litestar.di import Provide

from imserver.access.http import openapi
from imserver.access.http.callers import BearerTokens
from imserver.access.http.conversations import ConversationListRoutes, ConversationRoutes
from imserver.access.http.events import EventRoutes
from imserver.access.http.gate import Gate
from imserver.access.http.groups import GroupListRoutes, GroupRoutes
from imserver.access.http.json_body import AnyValue
from imserver.access.http.names import direct_line, group_named
from imserver.access.http.operations import Operations
from imserver.access.http.problems import HEADERS, answer_to
from imserver.access.http.robots import RobotRoutes
from imserver.access.http.stays import Stays
from imserver.access.use_cases import UseCases
from imserver.core.http_settings import HttpSettings
from imserver.core.settings import AccessSettings
from imserver.protocol.limits import Limits

_ANY_METHOD: Final = "*"


def application(
    cases: UseCases,
    operations: Operations,
    *,
    stays: Stays,
    access: AccessSettings,
    http: HttpSettings,
    limits: Limits,
) -> Litestar:
    """Return the application that answers every HTTP request of this node."""
    of_any = [
        *EventRoutes(cases, limits, stays, wait_max_s=http.wait_max_s).handlers(),
        *ConversationRoutes(cases, limits).handlers(),
    ]
    group = Router(
        "/groups/{name:str}",
        route_handlers=[*of_any, *GroupRoutes(cases).handlers()],
        dependencies={"conv": Provide(group_named)},
    )
    direct = Router(
        "/direct/{one:str}/{other:str}",
        route_handlers=of_any,
        dependencies={"conv": Provide(direct_line)},
    )
    whole = [
        *RobotRoutes(cases).handlers(),
        *GroupListRoutes(cases).handlers(),
        *ConversationListRoutes(cases).handlers(),
    ]
    api = Router(
        "/v1",
        route_handlers=[*whole, group, direct],
        middleware=[
            lambda app: Gate(app, access.origins),
            lambda app: BearerTokens(app, cases.identity),
        ],
        response_headers=[ResponseHeader(name=n, value=v) for n, v in HEADERS.items()],
        security=[{openapi.BEARER: []}],
        request_max_body_size=limits.frame_bytes_max,
    )
    return Litestar(
        [*operations.handlers(), api],
        cors_config=_cors(access.origins),
        exception_handlers={Exception: answer_to},
        openapi_config=openapi.configuration(),
        plugins=[AnyValue()],
        logging_config=None,
        debug=False,
    )


def _cors(origins: tuple[str, ...]) -> CORSConfig | None:
    """Let the browsers' pages of allowed origins read the answers (the Fetch standard, 3.2)."""
    if not origins:
        return None
    headers = ["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"]
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=[_ANY_METHOD],
        allow_headers=headers,
        expose_headers=["Retry-After", "Location"],
        allow_credentials=True,
    )
