"""The one list of error codes and close codes, with what a client should do about each.

Codes are stable: programs switch on them. Messages are for people: they say what was wrong and what would
be right, and may change.
"""

import enum
from typing import Final


class ErrorCode(enum.StrEnum):
    """Why a request was refused."""

    BAD_FRAME = "bad_frame"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    EXISTS = "exists"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    CONFLICT = "conflict"
    EPOCH_CHANGED = "epoch_changed"
    UNAVAILABLE = "unavailable"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"


class Retry(enum.StrEnum):
    """What repeating the same request can bring."""

    NEVER = "never"
    BACKOFF = "backoff"
    RECONNECT = "reconnect"


MEANING: Final[dict[ErrorCode, tuple[Retry, str]]] = {
    ErrorCode.BAD_FRAME: (Retry.NEVER, "The frame or a value in it breaks the protocol."),
    ErrorCode.UNAUTHENTICATED: (
        Retry.NEVER,
        "Who you are is not proven: say hello first, or the token or signature is not good.",
    ),
    ErrorCode.FORBIDDEN: (Retry.NEVER, "Your role does not allow this."),
    ErrorCode.NOT_FOUND: (
        Retry.NEVER,
        "There is no such thing, or you may not know of it: the two look the same.",
    ),
    ErrorCode.EXISTS: (Retry.NEVER, "The name is taken."),
    ErrorCode.TOO_LARGE: (Retry.NEVER, "A frame, a body or a list is over its limit."),
    ErrorCode.RATE_LIMITED: (Retry.BACKOFF, "Too fast: wait `retry_after` milliseconds."),
    ErrorCode.CONFLICT: (
        Retry.NEVER,
        "It contradicts what is stored, for example a cid that was used for another body.",
    ),
    ErrorCode.EPOCH_CHANGED: (
        Retry.RECONNECT,
        "The log was restored since you saw it: take the epoch of `welcome` and read again.",
    ),
    ErrorCode.UNAVAILABLE: (
        Retry.BACKOFF,
        "The store or the route is down and the outcome may be unknown: send the same cid again.",
    ),
    ErrorCode.UNSUPPORTED: (Retry.NEVER, "This server does not offer that."),
    ErrorCode.INTERNAL: (Retry.BACKOFF, "A fault of the server's own; it was logged."),
}


class CloseCode(enum.IntEnum):
    """WebSocket close codes, also the ``code`` of ``bye``. Ranges tell a client what to do next.

    1000 to 1015 are RFC 6455's. 4000 to 4099: reconnect now. 4100 to 4199: reconnect after
    ``retry_after``. 4200 to 4299: authenticate again. 4300 to 4399: do not come back.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    IDLE = 4000
    DRAINING = 4100
    OVERLOADED = 4101
    CONTESTED = 4102
    STRANDED = 4103
    HELLO_TIMEOUT = 4200
    UNAUTHENTICATED = 4201
    TOKEN_ENDED = 4202
    KEY_REPLACED = 4203
    REPLACED = 4300
    REVOKED = 4301
    CLONED = 4302


CLOSE_MEANING: Final[dict[CloseCode, str]] = {
    CloseCode.NORMAL: "The client left.",
    CloseCode.GOING_AWAY: "The client's program or page ended.",
    CloseCode.PROTOCOL_ERROR: "The WebSocket protocol itself was broken.",
    CloseCode.POLICY: "Too many malformed frames, or a limit without a code of its own.",
    CloseCode.TOO_BIG: "A frame was over `frame_bytes_max`.",
    CloseCode.INTERNAL: "A fault of the server's own; it was logged.",
    CloseCode.RESTART: "This node stops, or cannot read its store.",
    CloseCode.IDLE: "The connection was silent for too long.",
    CloseCode.DRAINING: "This node is being shut down in good order.",
    CloseCode.OVERLOADED: "This node has too much to do.",
    CloseCode.CONTESTED: "Two machines claim this device, and the other one has it.",
    CloseCode.STRANDED: "This node cannot reach its store, and another one can.",
    CloseCode.HELLO_TIMEOUT: "`hello` was not completed in time.",
    CloseCode.UNAUTHENTICATED: "Who you are was not proven.",
    CloseCode.TOKEN_ENDED: "The bearer token was revoked, or has expired.",
    CloseCode.KEY_REPLACED: "The robot has another key now.",
    CloseCode.REPLACED: "The same device opened a newer session.",
    CloseCode.REVOKED: "The robot was revoked: neither its key nor its tokens are good any more.",
    CloseCode.CLONED: "Another machine has this robot's identity, and keeps the device.",
}


class AfterClose(enum.StrEnum):
    """What a client does after a close."""

    RECONNECT = "reconnect"
    RECONNECT_LATER = "reconnect_later"
    AUTHENTICATE = "authenticate"
    STAY_AWAY = "stay_away"


def after_close(code: int) -> AfterClose:
    """Tell a client what a close code asks of it; an unknown code means: reconnect."""
    match code // 100:
        case 41:
            return AfterClose.RECONNECT_LATER
        case 42:
            return AfterClose.AUTHENTICATE
        case 43:
            return AfterClose.STAY_AWAY
    return AfterClose.RECONNECT
