"""The words of tus 1.0, the protocol of uploads that can be taken up again (tus.io): headers in and out."""

import base64
import binascii
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.params import HeaderParameter
from msgspec import structs

from imserver.access.http.problems import answer_to
from imserver.core.errors import Refusal
from imserver.core.files import FileRecord
from imserver.logic.upload import CHECKSUMS, Checksum, WrongChecksum
from imserver.logic.upload_turns import UploadBusy
from imserver.protocol.errors import ErrorCode

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,checksum,termination,expiration"
CHECKSUM_MISMATCH: Final = 460
ASKED: Final = (
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "Range",
    "If-Range",
    "Repr-Digest",
)
"""Headers of requests that a page of another origin may send."""

TOLD: Final = (
    *(name for name in ASKED if name not in ("Range", "If-Range")),
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Version",
    "Upload-Expires",
)
"""Headers of answers that such a page may read."""

_COUNT: Final = "^[0-9]{1,16}$"
_RESUMABLE: Final = {"Tus-Resumable": VERSION}

Resumable: TypeAlias = Annotated[
    str, HeaderParameter(name="Tus-Resumable", description=f"version of tus: {VERSION}")
]
MaybeResumable: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name="Tus-Resumable",
        description=f"version of tus, {VERSION}: asks how far the upload came, instead of the file",
    ),
]
Length: TypeAlias = Annotated[
    str,
    HeaderParameter(name="Upload-Length", pattern=_COUNT, description="bytes of the whole"),
]
Offset: TypeAlias = Annotated[
    str,
    HeaderParameter(name="Upload-Offset", pattern=_COUNT, description="where these bytes go"),
]
MetadataText: TypeAlias = Annotated[
    str,
    HeaderParameter(
        name="Upload-Metadata",
        description="pairs `key base64`, parted by commas; known here: filename, filetype, sha256 (hex)",
    ),
]
ChecksumText: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name="Upload-Checksum",
        description="of the bytes of this request: `sha256` or `sha1`, and its value in base64",
    ),
]
DigestText: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name="Repr-Digest", description="of the whole file: `sha-256=:base64:` (RFC 9530)"
    ),
]


def check_version(resumable: str | None) -> None:
    """Return if a client speaks this version, or does not say.

    Raises:
        HTTPException: 412.
    """
    if resumable not in (None, VERSION):
        raise HTTPException(
            detail=f"this server speaks tus {VERSION}: say `Tus-Resumable: {VERSION}`",
            status_code=HTTPStatus.PRECONDITION_FAILED,
            headers={"Tus-Version": VERSION},
        )


def checksum_of(text: str | None) -> Checksum | None:
    """Return what ``Upload-Checksum`` says.

    Raises:
        Refusal: ``bad_frame``.
    """
    if text is None:
        return None
    algorithm, _, value = text.strip().partition(" ")
    try:
        return Checksum(algorithm.lower(), base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        raise Refusal(
            ErrorCode.BAD_FRAME, "`Upload-Checksum` must be an algorithm and a value in base64"
        ) from None


def digest_of(text: str | None) -> bytes | None:
    """Return the SHA-256 that ``Repr-Digest`` says, None if it says none.

    Raises:
        Refusal: ``bad_frame``.
    """
    for part in (text or "").split(","):
        algorithm, _, value = part.strip().partition("=")
        if algorithm.lower() != "sha-256":
            continue
        try:
            digest = base64.b64decode(value.strip(":"), validate=True)
        except (binascii.Error, ValueError):
            digest = b""
        if len(digest) != 32:
            raise Refusal(ErrorCode.BAD_FRAME, "`Repr-Digest` must be `sha-256=:` base64 `:`")
        return digest
    return None


def abilities(bytes_max: int) -> dict[str, str]:
    """Return the headers that say what this server can."""
    return _RESUMABLE | {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(bytes_max),
        "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
    }


def state(file: FileRecord) -> dict[str, str]:
    """Return the headers that say how far an upload came."""
    headers = _RESUMABLE | {"Upload-Offset": str(file.offset), "Upload-Length": str(file.size)}
    if file.metadata:
        headers["Upload-Metadata"] = file.metadata.decode("latin-1")
    if file.expires_ms is not None:
        headers["Upload-Expires"] = http_date(file.expires_ms)
    return headers | digest_headers(file)


def digest_headers(file: FileRecord) -> dict[str, str]:
    """Return the headers that say the digest of a finished file."""
    if file.digest is None:
        return {}
    value = base64.b64encode(file.digest).decode()
    return {"ETag": etag(file), "Repr-Digest": f"sha-256=:{value}:"}


def etag(file: FileRecord) -> str:
    """Return the entity tag of a finished file: what has it has the same bytes."""
    assert file.digest is not None, "only what is finished has one"
    return f'"{file.digest.hex()}"'


def http_date(ms: int) -> str:
    """Return a moment as HTTP writes it."""
    return format_datetime(datetime.fromtimestamp(ms // 1_000, UTC), usegmt=True)


def answer_with_version(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Return the answer to a request that ended with an error, as tus has it."""
    answer: Response[Any] = answer_to(request, error)
    if isinstance(error, UploadBusy):
        answer = _with_status(answer, HTTPStatus.LOCKED)
    elif isinstance(error, WrongChecksum):
        answer = _with_status(answer, CHECKSUM_MISMATCH)
    answer.headers |= _RESUMABLE
    return answer


def _with_status(answer: Response[Any], status: int) -> Response[Any]:
    answer.status_code = status
    answer.content = structs.replace(answer.content, status=status)
    return answer
