"""Errors over HTTP: problem details (RFC 9457) that carry the protocol's own error codes."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from imserver.access.http.json_body import explained
from imserver.access.http.last_answers import LINK
from imserver.access.refusals import refusal_of
from imserver.core.errors import Refusal
from imserver.protocol.errors import MEANING, ErrorCode

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[dict[ErrorCode, HTTPStatus]] = {
    ErrorCode.BAD_FRAME: HTTPStatus.BAD_REQUEST,
    ErrorCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.EXISTS: HTTPStatus.CONFLICT,
    ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.CONFLICT: HTTPStatus.CONFLICT,
    ErrorCode.EPOCH_CHANGED: HTTPStatus.CONFLICT,
    ErrorCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    # A client's mistake rather than a fault: it asked for what the documents say is not there.
    ErrorCode.UNSUPPORTED: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}

_CODES: Final[dict[int, ErrorCode]] = {
    HTTPStatus.METHOD_NOT_ALLOWED: ErrorCode.UNSUPPORTED,
    HTTPStatus.NOT_ACCEPTABLE: ErrorCode.UNSUPPORTED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ErrorCode.UNSUPPORTED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ErrorCode.TOO_LARGE,
    HTTPStatus.NOT_FOUND: ErrorCode.NOT_FOUND,
    HTTPStatus.PRECONDITION_FAILED: ErrorCode.UNSUPPORTED,
}
"""The code of what HTTP itself has a status for."""

HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""What every answer of the API carries: a browser neither guesses its type nor keeps it."""

_DETAILS: Final[dict[int, str]] = {
    HTTPStatus.NOT_FOUND: "there is nothing at this path; /schema lists what there is",
    HTTPStatus.METHOD_NOT_ALLOWED: "this path does not take the method; `Allow` names those it takes",
}


class Problem(Struct, frozen=True, omit_defaults=True):
    """What is wrong with a request, as RFC 9457 writes it.

    Attributes:
        type: ``urn:imserver:error:`` and the code.
        title: what the code means.
        status: the status of the answer.
        detail: what is wrong here and what would be right, for people; may change.
        code: error code of the protocol, for programs; stable.
        retry_after: milliseconds to wait before trying again.
    """

    type: str
    title: str
    status: int
    detail: str
    code: ErrorCode
    retry_after: int | None = None


def problem(
    refusal: Refusal, *, status: int | None = None, headers: dict[str, str] | None = None
) -> Response[Problem]:
    """Return the answer to a refused request; without ``status`` the one of its code."""
    code, retry_after_ms = refusal.code, refusal.retry_after_ms
    status = STATUS[code] if status is None else status
    headers = HEADERS | (headers or {})
    if retry_after_ms is not None:
        headers["Retry-After"] = str(-(-retry_after_ms // 1_000))  # in whole seconds, upwards
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="imserver"'
    title = MEANING[code][1]
    content = Problem(
        f"urn:imserver:error:{code}", title, status, refusal.message, code, retry_after_ms
    )
    return Response(content, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def answer_to(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Return the answer to a request that ended with an error of any kind."""
    if not isinstance(error, HTTPException):
        path = str(
            request.scope.get("path_template", "")
        )  # the path itself may name what is secret
        return problem(refusal_of(error, request=f"{request.method} {path}"))
    link: Any = request.scope.get(LINK)
    if link is not None and link.is_over:
        return problem(Refusal(ErrorCode.BAD_FRAME, "the client left in the middle of its request"))
    status = error.status_code
    code = _CODES.get(status, ErrorCode.BAD_FRAME)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem(refusal_of(error, request=request.method), status=status)
    refusal = Refusal(code, _DETAILS.get(status) or _detail(error))
    return problem(refusal, status=status, headers=error.headers)


def problems(*codes: ErrorCode) -> dict[int, ResponseSpec]:
    """Return the refusals that a route's description names, beside those that any route can answer with."""
    return {
        STATUS[code]: ResponseSpec(
            Problem, generate_examples=False, description=_description(code), media_type=MEDIA_TYPE
        )
        for code in (*ANY_ROUTE, *codes)
    }


ANY_ROUTE: Final = (
    ErrorCode.BAD_FRAME,
    ErrorCode.UNAUTHENTICATED,
    ErrorCode.FORBIDDEN,
    ErrorCode.RATE_LIMITED,
    ErrorCode.UNAVAILABLE,
    ErrorCode.INTERNAL,
)


def _description(code: ErrorCode) -> str:
    same = [other for other, status in STATUS.items() if status == STATUS[code]]
    return " ".join(f"`{other}`: {MEANING[other][1]}" for other in same)


def _detail(error: HTTPException) -> str:
    if isinstance(error, ValidationException):
        # The rest of the text would name the URL, of which a part may be secret.
        return "; ".join(_parts(error.extra)) or error.detail.partition(" for ")[0]
    return error.detail


def _parts(extra: Any) -> Iterable[str]:
    for part in extra if isinstance(extra, list) else ():
        reason = explained(str(part.get("message", "wrong")))
        yield f"{part.get('key', 'the request')}: {reason}"
