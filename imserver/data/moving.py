"""What a store holds, as rows that any engine can take in: how a deployment moves from one to another.

What is sealed moves as it is: a seal is bound to the place of its event or segment, which stays the same, and
not to an engine. So no key is needed, and nothing is ever plain on the way. The keys themselves, in the ring,
are not part of a store.

The logs are compared by their digest: SHA-256 over each log's events in order, and over those by name. Bytes
of files are read again, each blob after it was copied (`moving_files`).
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from imserver.core.errors import SealingKeyMissing
from imserver.core.files import FileRecord
from imserver.core.key_ring import KeyId, KeyRing, sealed_with
from imserver.data.file_store import FileContent
from imserver.data.sealing import PLAIN

Row: TypeAlias = tuple[Any, ...]

TABLES: Final = {
    "robots": ("name", "public_key", "registered_ms", "revoked_ms"),
    "spent_tokens": ("id", "expires_ms"),
    "acts": ("number", "id", "at_ms", "by_whom", "kind", "robot", "token_id", "facts"),
    "tokens": (
        "id",
        "kind",
        "robot",
        "scopes",
        "convs",
        "minted_ms",
        "minted_by",
        "expires_ms",
        "revoked_ms",
    ),
    "boots": ("robot", "device", "number", "instance", "noted"),
    "conversations": ("name", "epoch", "open", "deleted", "created_ms", "floor", "seen", "head"),
    "members": ("conv", "robot", "role", "since"),
    "cursors": ("conv", "robot", "device", "seq"),
    "events": ("conv", "seq", "ts", "sender", "cid", "kind", "ref", "sealed", "body"),
    "file_refs": ("file", "conv", "seq"),
}
"""The tables, in the order in which they move, and the values of their rows. Lists and maps are JSON.
``sealed`` is the number of the key that the body is sealed with, or None. Files go before all of them."""

ROWS_A_STEP: Final = 1_000
BYTES_A_STEP: Final = 4 * 1024 * 1024


class Size(NamedTuple):
    """How much a store holds."""

    events: int
    file_bytes: int


class Sealing(NamedTuple):
    """What a store knows of its sealing.

    Attributes:
        words: what bodies may be sealed with: ids of keys, and ``plain``.
        file_key: the key of sealed files, wrapped; None if there is none.
    """

    words: frozenset[str]
    file_key: bytes | None

    @property
    def keys(self) -> frozenset[KeyId]:
        """The keys without which something may not be readable."""
        of_files = set() if self.file_key is None else {sealed_with(self.file_key)}
        return frozenset(of_files | {KeyId(word) for word in self.words if word != PLAIN})


class Source(Protocol):
    """A store that is moved away from; nobody writes to it meanwhile."""

    @property
    def content(self) -> FileContent:
        """The bytes of files, as they are kept."""

    async def epoch(self) -> str:
        """Return the epoch of conversations that begin now."""

    async def size(self) -> Size:
        """Return how much there is."""

    async def sealing(self) -> Sealing:
        """Return what the store knows of its sealing."""

    def rows(self, table: str) -> AsyncIterator[list[Row]]:
        """Yield the rows of a table, some at a time; conversations, and events, by name, and events of a
        conversation in order."""

    def files(self) -> AsyncIterator[list[FileRecord]]:
        """Yield the files, finished and unfinished, some at a time, as they are kept."""


class Target(Source, Protocol):
    """A store that is filled, and is none before `finish`."""

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        """Take in rows."""

    async def put_files(self, files: Sequence[FileRecord]) -> list[FileRecord]:
        """Take in files; return those whose bytes are not expected yet: what others share comes once."""

    async def finish(self, epoch: str, sealing: Sealing) -> None:
        """Become a store."""


class Moved(NamedTuple):
    """What was moved."""

    events: int
    conversations: int
    digest: str


class MoveFailed(Exception):
    """The target does not hold what the source holds."""


def in_steps(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut rows into steps that are bounded in number and, but for one row, in bytes."""
    step: list[Row] = []
    size = 0
    for row in rows:
        step.append(row)
        size += sum(len(value) for value in row if isinstance(value, bytes))
        if len(step) >= ROWS_A_STEP or size >= BYTES_A_STEP:
            yield step
            step, size = [], 0
    if step:
        yield step


def require_keys(sealing: Sealing, ring: KeyRing | None) -> None:
    """Return if a ring, where there is one, opens all that is sealed.

    Raises:
        SealingKeyMissing: it does not.
    """
    missing = set() if ring is None else sealing.keys - ring.ids
    if missing:
        raise SealingKeyMissing(
            f"this store is sealed with key {', '.join(sorted(missing))}, which is not in the key ring; put "
            "the ring that has it into the data directory, or name it with --keys"
        )


async def move(source: Source, target: Target, *, told: Callable[[str, int], None]) -> Moved:
    """Copy all but the files, read the logs again and compare; the target is a store then.

    ``told`` hears of each step: what is done, and how many events it is at.

    Raises:
        MoveFailed: the logs differ.
    """
    sent = LogDigest()
    conversations = 0
    for table in TABLES:
        async for rows in source.rows(table):
            await target.put(table, rows)
            if table == "conversations":
                conversations += len(rows)
            elif table == "events":
                sent.add(rows)
                told("copied", sent.events)
    size = await source.size()
    if sent.events != size.events:
        raise MoveFailed(
            f"of {size.events} events only {sent.events} could be read: see `imserver check`"
        )
    there = LogDigest()
    async for rows in target.rows("events"):
        there.add(rows)
        told("compared", there.events)
    digest = sent.digest()
    if (there.events, there.digest()) != (sent.events, digest):
        raise MoveFailed(
            f"of {sent.events} events {there.events} are there, and their digests differ: the target is no "
            "good; remove it and try again"
        )
    await target.finish(await source.epoch(), await source.sealing())
    return Moved(sent.events, conversations, digest)


class LogDigest:
    """The digest of logs that come by name, the events of each in order."""

    def __init__(self) -> None:
        self.events = 0
        self._whole = hashlib.sha256()
        self._conv: str | None = None
        self._log = hashlib.sha256()

    def add(self, rows: Sequence[Row]) -> None:
        """Take in rows of events."""
        self.events += len(rows)
        for conv, *event in rows:
            if conv != self._conv:
                self._end_log()
                self._conv, self._log = conv, hashlib.sha256()
            self._log.update(msgspec.msgpack.encode(event))

    def digest(self) -> str:
        """Return the digest of all of them, in hexadecimal digits; nothing is added after it."""
        self._end_log()
        self._conv = None
        return self._whole.hexdigest()

    def _end_log(self) -> None:
        if self._conv is not None:
            self._whole.update(msgspec.msgpack.encode((self._conv, self._log.digest())))
