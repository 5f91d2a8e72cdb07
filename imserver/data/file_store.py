"""The ports for files: a catalogue of what there is, and the bytes.

The catalogue belongs to the store: an event that refers to a file (`model.Refers`) and the reference are one
transaction. The bytes lie elsewhere, in blobs of numbered segments, and the catalogue says which of them
count. So the order of writing is: bytes, `FileContent.sync`, then the catalogue; and of letting go: the
catalogue, then the bytes. Whatever dies in between leaves bytes that nobody counts, and the catalogue knows
of them (`FileLeavings.dropped`) or their upload goes over them again.

Failures are those of the store: `StoreUnavailable` (nothing happened), `StoreFailed` (unknown; the process
must stop), `StoreCorrupt` (what was kept is damaged).
"""

from typing import NamedTuple, Protocol

from imserver.core.files import BlobId, FileId, FileQuota, FileRecord
from imserver.protocol.names import ConversationName, RobotName


class FileCatalog(Protocol):
    """Which files there are, whose they are, and who sees them. What a write returned for is durable."""

    async def create(self, file: FileRecord, quota: FileQuota) -> FileQuota | None:
        """Store a new, unfinished file and its blob, unless its owner would then have more than ``quota``.

        Atomic: files that are created at once cannot pass the quota together. Returns None if it is stored,
        else what the owner would have with it.
        """

    async def find(self, file: FileId) -> FileRecord | None:
        """Return a file, or None."""

    async def claim(self, file: FileId) -> FileRecord | None:
        """Take the right to write to an unfinished file from whoever has it; return the file as it is then.

        On an engine that nodes share, its ``run`` is one more than before. Whatever is tried in the name of
        an earlier run from then on does nothing: `move_offset`, `complete`, `remove`, `FileContent.put`.
        Where one process has the engine to itself, its own turns are enough, and all runs are 0. Nothing is
        taken of a file that is finished. None if it is gone.
        """

    async def owned(self, owner: RobotName, *, after: str, limit: int) -> list[FileRecord]:
        """Return files of ``owner`` whose ids follow ``after`` in byte order, at most ``limit``."""

    async def move_offset(
        self, file: FileId, offset: int, *, expires_ms: int, run: int = 0
    ) -> bool:
        """Say how many bytes of an unfinished file are durable, and when it expires if it stays so.

        The offset may go back, too: then the bytes behind it count no longer. Returns False, and changes
        nothing, if the file is finished or gone, or another run has it now.
        """

    async def complete(
        self, file: FileId, digest: bytes, *, expires_ms: int | None, run: int = 0
    ) -> FileRecord | None:
        """Finish a file: all its bytes are durable, and their SHA-256 is ``digest``.

        If a finished file of that digest and size is here, with all its bytes, this one gets its blob, and
        its own is dropped, in one transaction. Returns the file as it is now, None if it is gone; it is
        unfinished still if another run has it. Finishing twice changes nothing.
        """

    async def remove(self, file: FileId, *, run: int | None = None) -> bool:
        """Let go of a file, with all references to it; its blob is dropped if no other file has it.

        With a ``run``, only if it is unfinished and that run has it. Returns whether there was one.
        """

    async def shared_in(
        self, file: FileId, robot: RobotName | None, *, after: str, limit: int
    ) -> list[ConversationName]:
        """Return conversations with events that refer to the file and ``robot`` among their members, by name;
        with None, any groups that have not ended: those that follow ``after`` in byte order, at most
        ``limit``. What `EventLog.trim` let go of refers to nothing any more."""


class FileLeavings(Protocol):
    """What is over and must be tidied away."""

    async def expire(self, now_ms: int, *, limit: int) -> int:
        """Let go of files that expired at ``now_ms``, the oldest first and at most ``limit``, as
        `FileCatalog.remove` does; return how many."""

    async def dropped(self, *, limit: int) -> list[BlobId]:
        """Return blobs that belong to no file and whose bytes may be here still, at most ``limit``."""

    async def forget(self, blob: BlobId) -> None:
        """Strike a dropped blob from the list: its bytes are gone. Idempotent."""


class FileContent(Protocol):
    """The bytes of blobs. One writer a blob counts at a time; segments come in any order, and over again."""

    def name(self, token: str) -> BlobId:
        """Return the name of a new blob, made of ``token``, which nobody else was given."""

    async def put(
        self, blob: BlobId, index: int, segment: bytes, *, run: int | None = None
    ) -> bool:
        """Write a segment of up to `SEALED_SEGMENT_BYTES_MAX` bytes, in place of the one with its index.

        Readable at once, durable after `sync`. Nothing longer than that is held in memory. With a ``run``,
        which every upload has, it returns False, and writes nothing, if the blob is another run's now,
        finished or dropped; judged and written at once, so that who was thought dead spoils nothing. Where
        nodes share the engine, that holds for thumbnails whose picture no file has any more, too.

        Raises:
            StoreUnavailable: it is not written: there is no room, and which.
        """

    async def sync(self, blob: BlobId) -> None:
        """Make everything durable that was put into the blob.

        Raises:
            StoreFailed: unknown what is durable.
        """

    async def get(self, blob: BlobId, index: int) -> bytes | None:
        """Return a segment as it was last put; None if there is none.

        Raises:
            StoreCorrupt: it is not what was put: damaged, or torn by a power cut before `sync` returned.
        """

    async def drop(self, blob: BlobId) -> None:
        """Let go of all segments of a blob. Idempotent.

        Where nodes share the engine, nothing goes of one that a file has: who heard of an upload last before
        it was finished elsewhere must not take its bytes.
        """


class FileStore(NamedTuple):
    """What is kept of files, by port."""

    catalog: FileCatalog
    leavings: FileLeavings
    content: FileContent
