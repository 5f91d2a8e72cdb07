"""What an uploader says of a file: its name, its type and its digest, as tus writes it (``Upload-Metadata``).

Pairs parted by commas, each a key and a value in base64. It is kept as it came, since tus wants it back, and
read here. Pure.
"""

import base64
import binascii
import re
from typing import Final, NamedTuple

from imserver.core.errors import Refusal
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import clip

METADATA_CHARS_MAX: Final = 4_096
NAME_CHARS_MAX: Final = 255
_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,63}/[A-Za-z0-9!#$&^_.+-]{1,63}")
_KEY: Final = re.compile(r"[!-+\--~]{1,64}")
_DIGEST: Final = re.compile(r"[0-9A-Fa-f]{64}")
# Control characters, separators of paths, what lets text run the other way, and halves of characters.
_NO_NAME: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NAME_KEYS: Final = ("filename", "name")
_TYPE_KEYS: Final = ("filetype", "type", "contentType")
UNKNOWN_TYPE: Final = "application/octet-stream"


class Metadata(NamedTuple):
    """What was said of a file.

    Attributes:
        name: a file name without a path; empty if none was said.
        type: a media type without parameters.
        digest: the SHA-256 that the whole must have, if it was said.
    """

    name: str
    type: str
    digest: bytes | None


def parse(text: str) -> Metadata:
    """Return what an ``Upload-Metadata`` says.

    Raises:
        Refusal: ``bad_frame``; it says what would be right.
    """
    pairs = _pairs(text)
    name = _first(pairs, _NAME_KEYS)
    if name and (_NO_NAME.search(name) or name in (".", "..") or len(name) > NAME_CHARS_MAX):
        raise _wrong(
            f"the file's name {clip(name)!r} must be a bare name of up to {NAME_CHARS_MAX} characters: "
            "no path, no control characters"
        )
    media_type = _first(pairs, _TYPE_KEYS).partition(";")[0].strip().lower() or UNKNOWN_TYPE
    if not _TYPE.fullmatch(media_type):
        raise _wrong(
            f"the file's type {clip(media_type)!r} must be a media type, such as image/png"
        )
    digest = _first(pairs, ("sha256",))
    if digest and not _DIGEST.fullmatch(digest):
        raise _wrong("`sha256` must be the SHA-256 of the whole file in hex, 64 digits")
    return Metadata(name, media_type, bytes.fromhex(digest) or None)


def write(*, name: str, media_type: str) -> str:
    """Return the ``Upload-Metadata`` that says a name and a type."""
    pairs = (("filename", name), ("filetype", media_type))
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs)


def _pairs(text: str) -> dict[str, str]:
    if len(text) > METADATA_CHARS_MAX:
        raise _wrong(f"`Upload-Metadata` may have {METADATA_CHARS_MAX} characters at most")
    pairs: dict[str, str] = {}
    for part in text.split(",") if text.strip() else ():
        key, _, value = part.strip().partition(" ")
        if not _KEY.fullmatch(key) or key in pairs:
            raise _wrong(
                "`Upload-Metadata` must be pairs `key base64`, parted by commas, each key once"
            )
        pairs[key] = _decoded(key, value)
    return pairs


def _decoded(key: str, value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        raise _wrong(
            f"`Upload-Metadata`: the value of {clip(key)!r} must be UTF-8 in base64"
        ) from None


def _first(pairs: dict[str, str], keys: tuple[str, ...]) -> str:
    return next((pairs[key] for key in keys if pairs.get(key)), "")


def _wrong(message: str) -> Refusal:
    return Refusal(ErrorCode.BAD_FRAME, message)
