"""What is looked at before a request is read: where a browser says it comes from, and what the body is.

A page of another origin can make a browser send forms and plain text without asking anybody; JSON it cannot.
So whatever changes something must be JSON, and a browser must come from this very host or an allowed origin.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from litestar.datastructures import Headers
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Receive, Scope, Send

from imserver.core.errors import Refusal
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import clip

_JSON: Final = "application/json"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """Turns requests away by their head alone."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on.

        Raises:
            Refusal: ``forbidden``, it comes from another origin's page.
            HTTPException: 415, its body is not JSON.
        """
        headers = Headers.from_scope(scope)
        self._check_origin(headers)
        if scope.get("method") not in _READING:
            _check_body(headers)
        await self._app(scope, receive, send)

    def _check_origin(self, headers: Headers) -> None:
        for origin in headers.getall("origin", []):
            is_own = urlsplit(origin).netloc == headers.get("host", "") != ""
            if not is_own and origin not in self._origins:
                raise Refusal(
                    ErrorCode.FORBIDDEN,
                    f"pages of {clip(origin)!r} may not connect; `access.origins` names those that may",
                )


def _check_body(headers: Headers) -> None:
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    kind = headers.get("content-type")
    if kind is None and not has_body:
        return
    if kind is None or kind.partition(";")[0].strip().lower() != _JSON:
        raise _unsupported(f"the body must be JSON, `Content-Type: {_JSON}`")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise _unsupported("the body must come uncompressed, without `Content-Encoding`")


def _unsupported(detail: str) -> HTTPException:
    return HTTPException(detail=detail, status_code=HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
