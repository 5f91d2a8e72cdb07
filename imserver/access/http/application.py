"""The ASGI application beside the WebSocket endpoint: its routes, and what goes for all of them."""

import random
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import ResponseHeader
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry

from imserver.access.context import Context
from imserver.access.http import openapi, tus
from imserver.access.http.administration import AdministrationRoutes
from imserver.access.http.callers import BearerTokens
from imserver.access.http.compression import CompressedAnswers
from imserver.access.http.conversations import ConversationListRoutes, ConversationRoutes
from imserver.access.http.events import EventRoutes
from imserver.access.http.files import FileRoutes
from imserver.access.http.gate import Gate
from imserver.access.http.groups import GroupListRoutes, GroupRoutes
from imserver.access.http.json_body import AnyValue
from imserver.access.http.names import direct_line, group_named
from imserver.access.http.operations import Operations
from imserver.access.http.problems import HEADERS, answer_to
from imserver.access.http.robots import RobotRoutes
from imserver.access.http.server import ServerRoutes
from imserver.access.http.stays import Stays
from imserver.access.http.stream_routes import Rules, StreamRoutes
from imserver.access.http.tollgates import AddressGate, RobotGate
from imserver.access.use_cases import UseCases
from imserver.core.clock import Clock
from imserver.core.file_settings import FileSettings
from imserver.core.http_settings import HttpSettings
from imserver.core.settings import AccessSettings

_ANY_METHOD: Final = "*"


class Parts(NamedTuple):
    """What the application is made of.

    Attributes:
        probe: returns if the store can be read and written, else raises.
        buffer_bytes_max: bytes that may wait for the client of one stream.
    """

    cases: UseCases
    stays: Stays
    registry: CollectorRegistry
    clock: Clock
    probe: Callable[[], Awaitable[None]]
    is_draining: Callable[[], bool]
    context: Context
    http: HttpSettings
    files: FileSettings
    buffer_bytes_max: int


def application(parts: Parts) -> Litestar:
    """Return the application that answers every HTTP request of this node."""
    access = parts.context.settings
    operations = Operations(
        probe=parts.probe,
        is_draining=parts.is_draining,
        registry=parts.registry,
        clock=parts.clock,
    )
    return Litestar(
        [*operations.handlers(), _api(parts)],
        cors_config=_cors(access.origins),
        middleware=[lambda app: CompressedAnswers(app, _bytes_min(access))],
        exception_handlers={Exception: answer_to},
        openapi_config=openapi.configuration(),
        plugins=[AnyValue()],
        logging_config=None,
        debug=False,
    )


def _api(parts: Parts) -> Router:
    """Return what asks who it is."""
    cases, tolls, access = parts.cases, parts.context.tolls, parts.context.settings
    bytes_max = parts.context.limits.frame_bytes_max
    of_any = _of_any_conversation(parts)
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
        *ServerRoutes(cases, parts.clock, parts.context.limits).handlers(),
        *AdministrationRoutes(cases).handlers(),
        *GroupListRoutes(cases).handlers(),
        *ConversationListRoutes(cases).handlers(),
    ]
    files = Router(
        "/",
        route_handlers=FileRoutes(cases, parts.stays, parts.files).handlers(),
        exception_handlers={Exception: tus.answer_with_version},
    )
    return Router(
        "/v1",
        route_handlers=[*whole, group, direct, files],
        middleware=[
            lambda app: Gate(app, access.origins, body_bytes_max=bytes_max),
            lambda app: AddressGate(app, tolls, bytes_max=bytes_max),
            lambda app: BearerTokens(app, cases),
            lambda app: RobotGate(app, tolls, bytes_max=bytes_max),
        ],
        response_headers=[ResponseHeader(name=n, value=v) for n, v in HEADERS.items()],
        security=[{openapi.BEARER: []}],
        request_max_body_size=bytes_max,
    )


def _of_any_conversation(parts: Parts) -> list[HTTPRouteHandler]:
    cases, stays, limits = parts.cases, parts.stays, parts.context.limits
    rules = Rules(parts.http.heartbeat_s, parts.buffer_bytes_max)
    return [
        *EventRoutes(cases, limits, stays, wait_max_s=parts.http.wait_max_s).handlers(),
        *StreamRoutes(
            cases, stays, rules=rules, clock=parts.clock, dice=random.Random()
        ).handlers(),
        *ConversationRoutes(cases, limits).handlers(),
    ]


def _bytes_min(access: AccessSettings) -> int | None:
    return access.deflate_bytes_min if access.deflate else None


def _cors(origins: tuple[str, ...]) -> CORSConfig | None:
    """Let the browsers' pages of allowed origins read the answers (the Fetch standard, 3.2)."""
    if not origins:
        return None
    headers = ["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", *tus.ASKED]
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=[_ANY_METHOD],
        allow_headers=headers,
        expose_headers=["Retry-After", "Location", *tus.TOLD],
        allow_credentials=True,
    )
