"""What a store holds, as rows that any engine can take in: how a deployment moves from one to another.

The logs are compared by their digest: SHA-256 over each log's events in order, and over those by name.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

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
    "events": ("conv", "seq", "ts", "sender", "cid", "kind", "ref", "body"),
}
"""The tables, in the order in which they move, and the values of their rows. Lists and maps are JSON."""

ROWS_A_STEP: Final = 1_000


class Source(Protocol):
    """A store that is moved away from; nobody writes to it meanwhile."""

    async def epoch(self) -> str:
        """Return the epoch of conversations that begin now."""

    async def count(self) -> int:
        """Return how many events there are."""

    def rows(self, table: str) -> AsyncIterator[list[Row]]:
        """Yield the rows of a table, some at a time; events of a conversation together and in order."""


class Target(Source, Protocol):
    """A store that is filled, and is none before `finish`."""

    async def put(self, table: str, rows: Sequence[Row]) -> None:
        """Take in rows."""

    async def finish(self, epoch: str) -> None:
        """Become a store."""


class Moved(NamedTuple):
    """What was moved."""

    events: int
    conversations: int
    digest: str


class MoveFailed(Exception):
    """The target does not hold what the source holds."""


async def move(source: Source, target: Target, *, told: Callable[[str, int], None]) -> Moved:
    """Copy everything, read it again and compare.

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
    if sent.events != await source.count():
        raise MoveFailed(
            f"only {sent.events} events could be read; is a server running on the source?"
        )
    there = LogDigest()
    async for rows in target.rows("events"):
        there.add(rows)
        told("compared", there.events)
    if (there.events, there.digest()) != (sent.events, sent.digest()):
        raise MoveFailed(
            f"of {sent.events} events {there.events} are there, and their digests differ: the target is no "
            "good; remove it and try again"
        )
    await target.finish(await source.epoch())
    return Moved(sent.events, conversations, sent.digest())


class LogDigest:
    """The digest of logs whose events come in order, whatever the order of the logs."""

    def __init__(self) -> None:
        self.events = 0
        self._logs: dict[str, Any] = {}

    def add(self, rows: Sequence[Row]) -> None:
        """Take in rows of events."""
        self.events += len(rows)
        for conv, *event in rows:
            log = self._logs.get(conv)
            if log is None:
                log = self._logs[conv] = hashlib.sha256()
            log.update(msgspec.msgpack.encode(event))

    def digest(self) -> str:
        """Return the digest of all of them, in hexadecimal digits."""
        whole = hashlib.sha256()
        for conv, log in sorted(self._logs.items()):
            whole.update(msgspec.msgpack.encode((conv, log.digest())))
        return whole.hexdigest()
