"""Who asks: the bearer token in ``Authorization``, and the session it opens for one request."""

from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from imserver.access.http.visit import session_for
from imserver.core import tokens
from imserver.core.errors import Refusal
from imserver.logic.identity import Identity
from imserver.protocol.client_frames import Hello
from imserver.protocol.errors import ErrorCode

ANYBODY: Final = "asks_anybody"
"""The mark of a route that takes no bearer token."""

_SCHEME: Final = "bearer"


class BearerTokens(AbstractAuthenticationMiddleware):
    """Lets a request in with a good bearer token; its handler finds the session in ``request.user``."""

    def __init__(self, app: ASGIApp, identity: Identity) -> None:
        super().__init__(app, exclude_from_auth_key=ANYBODY)
        self._identity = identity

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Return the session for the request, and what its token says.

        Raises:
            Refusal: ``unauthenticated``.
        """
        token = _token(connection.headers.getall("authorization", []))
        claims = tokens.unverified(token, kind="bearer")
        robot, admin = await self._identity.bear(Hello(claims.robot, token=token), token)
        return AuthenticationResult(session_for(robot, admin=admin), claims)


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
