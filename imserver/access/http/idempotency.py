"""The header ``Idempotency-Key``: an event's cid, as plain text or as a quoted string (RFC 8941, 3.3.3)."""

import re
from typing import Final

import msgspec

from imserver.core.errors import Refusal
from imserver.protocol.client_frames import Cid
from imserver.protocol.errors import ErrorCode

_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_ESCAPED: Final = re.compile(r"\\(.)")


def cid_of(header: str) -> str:
    """Return the cid in the header's value, which may be any text in UTF-8.

    Raises:
        Refusal: ``bad_frame``.
    """
    try:
        text = header.encode("latin-1").decode()  # headers arrive as bytes that nobody decoded
        quoted = _QUOTED.fullmatch(text)
        return msgspec.convert(_ESCAPED.sub(r"\1", quoted[1]) if quoted else text, Cid)
    except (UnicodeError, msgspec.ValidationError) as exc:
        raise Refusal(
            ErrorCode.BAD_FRAME,
            f"`Idempotency-Key` must be 1 to 64 characters in UTF-8, new for each event: {exc}",
        ) from None
