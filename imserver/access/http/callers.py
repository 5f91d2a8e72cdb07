"""Who asks: the bearer token in ``Authorization``, and the session it opens for one request.

A stream may be opened by a ticket instead. The browser keeps the pass that comes with it in a cookie that no
script can read, that goes to this one path, and only from pages of this site.
"""

from typing import Any, Final

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp, Receive, Scope, Send

from imserver.access.http.gate import TAKES_BYTES
from imserver.access.http.visit import session_for
from imserver.access.use_cases import UseCases
from imserver.core import tokens
from imserver.core.errors import Refusal
from imserver.logic.session import Session
from imserver.logic.tickets import Grant, fingerprint
from imserver.protocol.client_frames import Hello
from imserver.protocol.errors import ErrorCode

ANYBODY: Final = "asks_anybody"
"""The mark of a route that takes no bearer token."""

BY_TICKET: Final = "opens_by_ticket"
"""The mark of a route that takes a ticket instead."""

_SCHEME: Final = "bearer"


class BearerTokens(AbstractAuthenticationMiddleware):
    """Lets a request in with a good bearer token; its handler finds the session in ``request.user``."""

    def __init__(self, app: ASGIApp, cases: UseCases) -> None:
        super().__init__(app, exclude_from_auth_key=ANYBODY)
        self._identity = cases.identity
        self._tickets = cases.tickets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; it counts as long as the word behind it does, however long its body takes.

        Raises:
            Refusal: ``unauthenticated``.
        """

        async def receive_while_it_counts() -> Any:
            message = await receive()
            session = scope.get("user")
            if isinstance(session, Session):
                self._identity.check(session)
            return message

        # An upload is ended by others, with what has come of it kept (`Stays`).
        takes_bytes = scope["route_handler"].opt.get(TAKES_BYTES, False)
        await super().__call__(scope, receive if takes_bytes else receive_while_it_counts, send)

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Return the session for the request, and what its token or ticket says.

        Raises:
            Refusal: ``unauthenticated``.
        """
        tickets = connection.query_params.getall("ticket", [])
        if tickets and connection.route_handler.opt.get(BY_TICKET):
            kept = connection.cookies.get(_cookie_name(tickets[0]))
            grant = await self._tickets.redeem(tickets[0], kept_pass=kept)
            return AuthenticationResult(session_for(grant.warrant), grant)
        token = _token(connection.headers.getall("authorization", []))
        claims = tokens.unverified(token, kind="bearer")
        warrant = await self._identity.bear(Hello(claims.robot, token=token), token)
        return AuthenticationResult(session_for(warrant), claims)


def cookie_for(
    request: Request[Any, Any, Any], ticket: str, grant: Grant, *, now_ms: int
) -> str | None:
    """Return the header that leaves a new pass with the browser, or None if it has it already."""
    if grant.new_pass is None:
        return None
    lasts_s = (grant.expires_ms - now_ms) // 1_000
    secure = "; Secure" if request.url.scheme == "https" else ""
    return (
        f"{_cookie_name(ticket)}={grant.new_pass}; Path={request.url.path}; Max-Age={lasts_s}; "
        f"HttpOnly; SameSite=Strict{secure}"
    )


def _cookie_name(ticket: str) -> str:
    # Each stream has its own: two tabs may read as two robots.
    return f"imserver_stream_{fingerprint(ticket)[:16]}"


def _token(given: list[str]) -> str:
    if len(given) != 1:
        raise _unauthenticated("send one header `Authorization: Bearer <token>`")
    scheme, _, token = given[0].partition(" ")
    if scheme.lower() != _SCHEME or not token.strip():
        raise _unauthenticated("`Authorization` must be `Bearer <token>`")
    return token.strip()


def _unauthenticated(message: str) -> Refusal:
    return Refusal(
        ErrorCode.UNAUTHENTICATED, f"{message}, with a bearer token from `imserver token`"
    )
