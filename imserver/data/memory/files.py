"""Files in memory: the catalogue that `MemoryStore` has, and bytes beside it. For tests and trials."""

from collections.abc import Awaitable, Callable

from msgspec import structs

from imserver.core.errors import StoreUnavailable
from imserver.core.files import SEALED_SEGMENT_BYTES_MAX, BlobId, FileId, FileQuota, FileRecord
from imserver.core.model import ConversationRecord
from imserver.data.file_store import FileStore
from imserver.protocol.names import ConversationName, RobotName, is_group


class MemoryFiles:
    """A `FileCatalog` and `FileLeavings` that forgets everything at its end.

    ``conversation`` says who belongs to one.
    """

    def __init__(
        self, conversation: Callable[[ConversationName], Awaitable[ConversationRecord | None]]
    ) -> None:
        self._conversation = conversation
        self._files: dict[FileId, FileRecord] = {}
        self._refs: dict[FileId, set[tuple[ConversationName, int]]] = {}
        self._dropped: set[BlobId] = set()

    def refer(self, file: FileId, conv: ConversationName, seq: int) -> None:
        """Note that an event refers to a file, if it is here."""
        if file in self._files:
            self._refs.setdefault(file, set()).add((conv, seq))

    def trim(self, conv: ConversationName, floor: int) -> None:
        """Note that the events of a conversation below its floor are gone."""
        for file, refs in list(self._refs.items()):
            kept = {(name, seq) for name, seq in refs if name != conv or seq >= floor}
            if refs and not kept:
                self._files[file] = structs.replace(self._files[file], expires_ms=0)
            self._refs[file] = kept

    # FileCatalog

    async def create(self, file: FileRecord, quota: FileQuota) -> FileQuota | None:
        files = [one for one in self._files.values() if one.owner == file.owner] + [file]
        would = FileQuota(
            size=sum(one.size for one in files),
            files=len(files),
            unfinished=sum(one.digest is None for one in files),
        )
        if exceeds(would, quota):
            return would
        self._files[file.id] = file
        return None

    async def find(self, file: FileId) -> FileRecord | None:
        return self._files.get(file)

    claim = find
    """Nobody else can write, so there is nothing to take from anybody."""

    async def owned(self, owner: RobotName, *, after: str, limit: int) -> list[FileRecord]:
        ids = sorted(one.id for one in self._files.values() if one.owner == owner)
        return [self._files[one] for one in ids if one > after][:limit]

    async def move_offset(
        self, file: FileId, offset: int, *, expires_ms: int, run: int = 0
    ) -> bool:
        found = self._files.get(file)
        if found is None or found.digest is not None:
            return False
        self._files[file] = structs.replace(found, offset=offset, expires_ms=expires_ms)
        return True

    async def complete(
        self, file: FileId, digest: bytes, *, expires_ms: int | None, run: int = 0
    ) -> FileRecord | None:
        found = self._files.get(file)
        if found is None or found.digest is not None:
            return found
        content = (found.size, digest)
        same = (one.blob for one in self._files.values() if (one.size, one.digest) == content)
        blob = next(same, found.blob)
        done = structs.replace(
            found, blob=blob, offset=found.size, digest=digest, expires_ms=expires_ms
        )
        self._files[file] = done
        self._drop_if_free(found.blob)
        return done

    async def remove(self, file: FileId, *, run: int | None = None) -> bool:
        found = self._files.pop(file, None)
        if found is None:
            return False
        self._refs.pop(file, None)
        self._drop_if_free(found.blob)
        return True

    async def shared_in(
        self, file: FileId, robot: RobotName | None, *, after: str, limit: int
    ) -> list[ConversationName]:
        found: list[ConversationName] = []
        for conv in sorted({conv for conv, _ in self._refs.get(file, ()) if conv > after}):
            record = await self._conversation(conv)
            if record is None or record.deleted:
                continue
            if is_group(conv) if robot is None else robot in record.members:
                found.append(conv)
        return found[:limit]

    # FileLeavings

    async def expire(self, now_ms: int, *, limit: int) -> int:
        due = [one for one in self._files.values() if is_due(one, now_ms)]
        oldest_first = sorted(due, key=lambda one: one.expires_ms or 0)[:limit]
        for one in oldest_first:
            await self.remove(one.id)
        return len(oldest_first)

    async def dropped(self, *, limit: int) -> list[BlobId]:
        return sorted(self._dropped)[:limit]

    async def forget(self, blob: BlobId) -> None:
        self._dropped.discard(blob)

    def _drop_if_free(self, blob: BlobId) -> None:
        if not any(one.blob == blob for one in self._files.values()):
            self._dropped.add(blob)


def in_memory(catalog: MemoryFiles) -> FileStore:
    """Return all that is kept of files, in memory."""
    return FileStore(catalog, catalog, MemoryContent())


class MemoryContent:
    """A `FileContent` that forgets everything at its end; ``bytes_max`` is all the room there is."""

    def __init__(self, bytes_max: int = 64 * 1024 * 1024) -> None:
        self._bytes_max = bytes_max
        self._segments: dict[tuple[BlobId, int], bytes] = {}

    def name(self, token: str) -> BlobId:
        return BlobId(token)

    async def put(
        self, blob: BlobId, index: int, segment: bytes, *, run: int | None = None
    ) -> bool:
        check_segment(segment)
        held = sum(map(len, self._segments.values())) - len(self._segments.get((blob, index), b""))
        if held + len(segment) > self._bytes_max:
            raise StoreUnavailable(
                f"there is no room for files: all {self._bytes_max} bytes are used"
            )
        self._segments[blob, index] = bytes(segment)
        return True

    async def sync(self, blob: BlobId) -> None:
        """Return: memory is as durable as it gets."""

    async def get(self, blob: BlobId, index: int) -> bytes | None:
        return self._segments.get((blob, index))

    async def drop(self, blob: BlobId) -> None:
        for key in [key for key in self._segments if key[0] == blob]:
            del self._segments[key]


def exceeds(would: FileQuota, quota: FileQuota) -> bool:
    """Tell whether a robot would have more than it may."""
    return (
        would.size > quota.size or would.files > quota.files or would.unfinished > quota.unfinished
    )


def is_due(file: FileRecord, now_ms: int) -> bool:
    """Tell whether a file has expired."""
    return file.expires_ms is not None and file.expires_ms <= now_ms


def check_segment(segment: bytes) -> None:
    """Return if a segment is not too long.

    Raises:
        ValueError: it is.
    """
    if len(segment) > SEALED_SEGMENT_BYTES_MAX:
        raise ValueError(f"a segment has {SEALED_SEGMENT_BYTES_MAX} bytes at most")
