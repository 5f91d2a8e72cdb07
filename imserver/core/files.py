"""Files as the tiers speak of them: frozen values. What they hold travels in segments, never whole."""

from typing import Final, NewType

from msgspec import Struct

from imserver.protocol.names import RobotName

FileId = NewType("FileId", str)
"""Names one upload and what became of it; nobody can guess it."""

BlobId = NewType("BlobId", str)
"""Names bytes that are kept once, however many files hold them."""

SEGMENT_BYTES: Final = 256 * 1024
"""A blob is cut into segments of so many bytes, numbered from 0; only its last one may be shorter."""

_THUMBNAIL: Final = "~t"
SEALED_SEGMENT_BYTES_MAX: Final = SEGMENT_BYTES + 256
"""What a segment may take where it is kept: sealing adds a little."""


class FileRecord(Struct, frozen=True):
    """A file, finished or on its way.

    Attributes:
        id: its name.
        owner: who uploads it.
        blob: where its bytes are.
        size: how many bytes it has, or is to have.
        offset: how many of them are durable; an upload goes on from here.
        metadata: what its owner said of it, as it was said.
        created_ms: when it was begun, in milliseconds since 1970.
        expires_ms: from when on it may be let go; None: never.
        digest: SHA-256 of the whole; None while it is unfinished.
        run: which claim of its writers counts (`FileCatalog.claim`), where several nodes may write; else 0.
    """

    id: FileId
    owner: RobotName
    blob: BlobId
    size: int
    offset: int
    metadata: bytes
    created_ms: int
    expires_ms: int | None
    digest: bytes | None = None
    run: int = 0


class FileQuota(Struct, frozen=True):
    """How much one robot may have here.

    Attributes:
        size: bytes of all its files, with those that unfinished ones are to have.
        files: finished and unfinished files.
        unfinished: of these, unfinished ones.
    """

    size: int
    files: int
    unfinished: int


def thumbnail_of(blob: BlobId) -> BlobId:
    """Return where the thumbnail of a picture is kept; it is let go of with the picture."""
    return BlobId(f"{blob}{_THUMBNAIL}")


def picture_of(blob: BlobId) -> BlobId | None:
    """Return the picture whose thumbnail this is; None if it is no thumbnail."""
    picture = blob.removesuffix(_THUMBNAIL)
    return None if picture == blob else BlobId(picture)
