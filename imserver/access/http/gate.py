"""What is looked at before a request is read: where a browser says it comes from, and what the body is.

A page of another origin can make a browser send forms and plain text without asking anybody; JSON, and what
tus calls bytes, it cannot. So whatever changes something must be one of these, as its route wants it, and a
browser must come from this very host or an allowed origin.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from litestar.datastructures import Headers
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Receive, Scope, Send
from litestar.utils.scope.state import ScopeState

from imserver.access.http.codings import CODINGS, IDENTITY
from imserver.access.http.compression import decoding
from imserver.core.errors import Refusal
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import clip

_JSON: Final = "application/json"
BYTES: Final = "application/offset+octet-stream"
"""What tus calls bytes that are uploaded."""

TAKES_BYTES: Final = "takes_bytes"
"""The mark of a route that takes bytes instead of JSON."""

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """Turns requests away by their head alone."""

    def __init__(self, app: ASGIApp, origins: Iterable[str], *, body_bytes_max: int) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on.

        Raises:
            Refusal: ``forbidden``, it comes from another origin's page.
            HTTPException: 415, its body is not JSON, or in a coding that is not known here.
        """
        headers = Headers.from_scope(scope)
        self._check_origin(headers)
        if scope.get("method") not in _READING:
            takes_bytes = scope["route_handler"].opt.get(TAKES_BYTES, False)
            coding = _coding_of_body(headers, BYTES if takes_bytes else _JSON)
            if takes_bytes and coding != IDENTITY:
                raise _unsupported("what is uploaded must come without `Content-Encoding`")
            if coding != IDENTITY:
                receive = decoding(receive, coding, bytes_max=self._body_bytes_max)
                _forget_length(scope)
        await self._app(scope, receive, send)

    def _check_origin(self, headers: Headers) -> None:
        for origin in headers.getall("origin", []):
            is_own = _host_of(origin) == headers.get("host", "") != ""
            if not is_own and origin not in self._origins:
                raise Refusal(
                    ErrorCode.FORBIDDEN,
                    f"pages of {clip(origin)!r} may not connect; `access.origins` names those that may",
                )


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # brackets with no address in them: no browser says that
        return ""


def _coding_of_body(headers: Headers, wanted: str) -> str:
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    kind = headers.get("content-type")
    if kind is None and not has_body:
        return IDENTITY
    if kind is None or kind.partition(";")[0].strip().lower() != wanted:
        raise _unsupported(f"the body must come with `Content-Type: {wanted}`")
    coding = ", ".join(headers.getall("content-encoding", [IDENTITY])).strip().lower()
    if coding not in (IDENTITY, *CODINGS):
        offered = ", ".join(CODINGS)
        text = f"the body must come as it is or in one coding: `Content-Encoding` {offered}"
        raise _unsupported(text, {"Accept-Encoding": offered})
    return coding


def _forget_length(scope: Scope) -> None:
    """What was announced is the length of what comes in, not of what the handler is given."""
    scope["headers"] = [header for header in scope["headers"] if header[0] != b"content-length"]
    ScopeState.from_scope(scope).headers = Headers(scope["headers"])


def _unsupported(detail: str, headers: dict[str, str] | None = None) -> HTTPException:
    return HTTPException(
        detail=detail, status_code=HTTPStatus.UNSUPPORTED_MEDIA_TYPE, headers=headers
    )
