"""Files sealed at rest: a catalogue and bytes around other ones, which see only what is sealed.

All is sealed with one *file key*, random and never changed. It is kept in the store, wrapped (sealed itself)
with the current key of the ring; a rotation wraps it anew, and no file has to be rewritten. It is made with
the first file that is to be sealed.

The name of a blob says whether it is sealed, so that what was there before sealing was turned on stays
readable beside it. A segment is bound to its blob and its number; that none is cut off is seen by its
length, which the catalogue knows. Of the catalogue, what a robot says of its file (its name) is sealed;
sizes, times and digests are not.
"""

import asyncio
import logging
import os
from typing import Final, Protocol

import msgspec
from msgspec import structs

from imserver.core.errors import SealBroken, StoreCorrupt, StoreUnavailable
from imserver.core.files import BlobId, FileId, FileQuota, FileRecord, thumbnail_of
from imserver.core.key_ring import KeyId, KeyRing, SealingKey, sealed_with
from imserver.data.file_store import FileCatalog, FileContent
from imserver.protocol.names import ConversationName, RobotName

_SEALED: Final = "~s"
_MARK: Final = b"\0"
"""What sealed metadata begin with; those of a client are text and never do."""

_REWRAP_S: Final = 1.0
_PUT_OFF_S: Final = 30.0
_KEY_PLACE: Final = b"file key"
_encode: Final = msgspec.msgpack.Encoder().encode
_log: Final = logging.getLogger(__name__)


class KeyPlace(Protocol):
    """Where the wrapped file key is kept, durably."""

    async def wrapped_file_key(self) -> bytes | None:
        """Return it, None if there is none."""

    async def put_wrapped_file_key(self, wrapped: bytes, *, first: bool) -> bytes:
        """Keep it, with ``first`` only if there is none yet; return the one that is kept now."""


class FileKey:
    """The key that files are sealed with; ``ring`` None: nothing is sealed."""

    def __init__(self, place: KeyPlace, ring: KeyRing | None) -> None:
        self._place = place
        self._ring = ring
        self._wrapped_with: KeyId | None = None
        self._files: KeyRing | None = None

    @property
    def seals(self) -> bool:
        """Whether what is new is sealed."""
        return self._ring is not None

    async def load(self) -> None:
        """Learn the key if there is one.

        Raises:
            SealBroken: it is not what was wrapped, or there is no ring to unwrap it with.
            SealingKeyMissing: the ring has no such key.
        """
        wrapped = await self._place.wrapped_file_key()
        if wrapped is None:
            return
        if self._ring is None:
            raise SealBroken(
                "files here are sealed: serve with the key ring that has "
                f"{sealed_with(wrapped)} (sealing.enabled)"
            )
        self._take(wrapped)

    async def run(self) -> None:
        """Wrap the key anew whenever the ring has another current one; until cancelled.

        Raises:
            StoreFailed: writing failed for good.
        """
        while self._ring is not None:
            await asyncio.sleep(_REWRAP_S)
            try:
                await self.rewrap()
            except StoreUnavailable as exc:  # the old key goes on to open
                _log.warning("sealing.file_key_put_off", extra={"reason": str(exc)})
                await asyncio.sleep(_PUT_OFF_S)

    async def rewrap(self) -> None:
        """Wrap the key with the current one of the ring, if it is not."""
        if self._ring is None or self._files is None:
            return
        if self._wrapped_with != self._ring.current:
            await self._wrap(self._ring, self._secret, first=False)

    async def ring(self) -> KeyRing:
        """Return what seals and opens files, making the key if there is none."""
        if self._files is None:
            if self._ring is None:
                raise SealBroken("a file is sealed, and there is no key ring")
            await self._wrap(self._ring, os.urandom(32), first=True)
        assert self._files is not None, "it was just taken"
        return self._files

    async def _wrap(self, ring: KeyRing, secret: bytes, *, first: bool) -> None:
        wrapped = ring.seal(secret, _KEY_PLACE)
        self._take(await self._place.put_wrapped_file_key(wrapped, first=first))

    def _take(self, wrapped: bytes) -> None:
        assert self._ring is not None, "who takes a key has a ring"
        self._secret = self._ring.open(wrapped, _KEY_PLACE)
        self._wrapped_with = sealed_with(wrapped)
        if self._files is None:
            key = SealingKey(self._secret)
            self._files = KeyRing([key], key.id, random_bytes=os.urandom)


class SealedContent:
    """A `FileContent` whose new blobs are sealed."""

    def __init__(self, content: FileContent, key: FileKey) -> None:
        self._content = content
        self._key = key

    def name(self, token: str) -> BlobId:
        return BlobId(f"{token}{_SEALED}") if self._key.seals else self._content.name(token)

    async def put(
        self, blob: BlobId, index: int, segment: bytes, *, run: int | None = None
    ) -> bool:
        if is_sealed(blob):
            ring = await self._key.ring()
            segment = await asyncio.to_thread(ring.seal, segment, _place(blob, index))
        return await self._content.put(blob, index, segment, run=run)

    async def sync(self, blob: BlobId) -> None:
        await self._content.sync(blob)

    async def get(self, blob: BlobId, index: int) -> bytes | None:
        segment = await self._content.get(blob, index)
        if segment is None or not is_sealed(blob):
            return segment
        ring = await self._key.ring()
        try:
            return await asyncio.to_thread(ring.open, segment, _place(blob, index))
        except SealBroken as exc:
            raise StoreCorrupt(f"segment {index} of blob {blob}: {exc}") from exc

    async def drop(self, blob: BlobId) -> None:
        await self._content.drop(blob)


class SealedCatalog:
    """A `FileCatalog` that keeps what robots say of new files sealed."""

    def __init__(self, catalog: FileCatalog, key: FileKey) -> None:
        self._catalog = catalog
        self._key = key

    async def create(self, file: FileRecord, quota: FileQuota) -> FileQuota | None:
        if self._key.seals:
            ring = await self._key.ring()
            sealed = _MARK + ring.seal(file.metadata, _words(file.id))
            file = structs.replace(file, metadata=sealed)
        return await self._catalog.create(file, quota)

    async def find(self, file: FileId) -> FileRecord | None:
        return await self._opened(await self._catalog.find(file))

    async def claim(self, file: FileId) -> FileRecord | None:
        return await self._opened(await self._catalog.claim(file))

    async def owned(self, owner: RobotName, *, after: str, limit: int) -> list[FileRecord]:
        found = await self._catalog.owned(owner, after=after, limit=limit)
        opened = [await self._opened(file) for file in found]
        return [file for file in opened if file is not None]

    async def move_offset(
        self, file: FileId, offset: int, *, expires_ms: int, run: int = 0
    ) -> bool:
        return await self._catalog.move_offset(file, offset, expires_ms=expires_ms, run=run)

    async def complete(
        self, file: FileId, digest: bytes, *, expires_ms: int | None, run: int = 0
    ) -> FileRecord | None:
        done = await self._catalog.complete(file, digest, expires_ms=expires_ms, run=run)
        return await self._opened(done)

    async def remove(self, file: FileId, *, run: int | None = None) -> bool:
        return await self._catalog.remove(file, run=run)

    async def shared_in(
        self, file: FileId, robot: RobotName | None, *, after: str, limit: int
    ) -> list[ConversationName]:
        return await self._catalog.shared_in(file, robot, after=after, limit=limit)

    async def _opened(self, file: FileRecord | None) -> FileRecord | None:
        if file is None or not file.metadata.startswith(_MARK):
            return file
        ring = await self._key.ring()
        try:
            said = ring.open(file.metadata[len(_MARK) :], _words(file.id))
        except SealBroken as exc:
            raise StoreCorrupt(f"what was said of file {file.id}: {exc}") from exc
        return structs.replace(file, metadata=said)


def is_sealed(blob: BlobId) -> bool:
    """Tell whether what a blob, or a thumbnail, has is sealed."""
    return blob.endswith((_SEALED, thumbnail_of(BlobId(_SEALED))))


def _place(blob: BlobId, index: int) -> bytes:
    return _encode(("file", blob, index))


def _words(file: FileId) -> bytes:
    return _encode(("file words", file))
