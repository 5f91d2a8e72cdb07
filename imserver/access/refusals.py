"""What a client is told of an error, whichever door it stands at."""

import logging

from msgspec import Raw

from imserver.core.errors import Refusal, StoreCorrupt, StoreFailed, StoreUnavailable
from imserver.protocol.bodies import InvalidBody
from imserver.protocol.codec import Codec
from imserver.protocol.errors import ErrorCode
from imserver.protocol.limits import Limits

_log = logging.getLogger("imserver.connection")


def refusal_of(reason: Exception, *, request: str) -> Refusal:
    """Return ``reason`` in the protocol's words; what nobody foresaw is logged, and told as ``internal``."""
    match reason:
        case Refusal():
            return reason
        case InvalidBody():
            return Refusal(ErrorCode.BAD_FRAME, str(reason))
        case StoreUnavailable() | StoreFailed() | StoreCorrupt():
            _log.warning("request.unavailable", extra={"reason": str(reason)})
            message = "the store cannot be asked now; ask again"
            return Refusal(ErrorCode.UNAVAILABLE, message, retry_after_ms=1_000)
    _log.error("request.failed", extra={"frame": request}, exc_info=reason)
    return Refusal(ErrorCode.INTERNAL, "the server failed at this request; it was logged")


def checked_body(body: Raw, codec: Codec, limits: Limits) -> bytes:
    """Return a client's body as it is stored.

    Raises:
        InvalidBody: it is malformed, or not allowed in a log.
        Refusal: ``too_large``.
    """
    stored = codec.canonical_body(body)
    if len(stored) > limits.body_bytes_max:
        raise Refusal(
            ErrorCode.TOO_LARGE,
            f"the body takes {len(stored)} bytes, and {limits.body_bytes_max} is the most; "
            "send large things in parts",
        )
    return stored
