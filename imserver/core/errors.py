"""The errors that cross tiers.

ImserverError
├── Refusal            a request is refused: carries the wire's error code and a message for its sender
├── StoreUnavailable   the store cannot take writes now; nothing was stored
├── StoreFailed        a write's outcome is unknown: the node must stop and read the truth again
├── StoreCorrupt       the store's files are damaged; the node refuses to start
│   ├── EventMissing   a log cannot be read on: an event is missing that was not let go
│   └── SealBroken     sealed content was changed or moved: it is not given out
├── StoreTooNew        a newer version wrote the store; the node refuses to start
├── DataDirectoryBusy  another process holds the data directory
├── DataDirectoryUnusable  it is no directory, not writable, or its key is damaged
├── KeyRingUnusable    the sealing keys are missing, damaged or open to others; the node refuses to start
│   └── SealingKeyMissing  content is sealed with a key that the ring does not have
└── InvalidSettings    a setting is unknown or its value out of range
"""

from typing import Final

from imserver.protocol.errors import ErrorCode


class ImserverError(Exception):
    """The base of all errors of the server."""


class Refusal(ImserverError):
    """A request is refused, definitely and without effect."""

    def __init__(self, code: ErrorCode, message: str, *, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms


class StoreUnavailable(ImserverError):
    """The store cannot take writes now; nothing of this one was stored, and a later try may succeed."""


class StoreFailed(ImserverError):
    """A commit failed and its outcome is unknown; the store takes no more writes in this process."""


class StoreCorrupt(ImserverError):
    """The store's files are damaged; the text names what is lost or unreadable."""


class EventMissing(StoreCorrupt):
    """An event is missing in a log that was not let go."""


STORE_TROUBLE: Final = (StoreUnavailable, StoreFailed, StoreCorrupt)
"""What keeps a store from answering a question."""


class StoreTooNew(ImserverError):
    """A newer version wrote the store, in a form that this one does not know."""


class DataDirectoryBusy(ImserverError):
    """Another process holds the data directory's store."""


class DataDirectoryUnusable(ImserverError):
    """The data directory cannot be used; the text says why and what would be right."""


class KeyRingUnusable(ImserverError):
    """The key ring cannot be used, or is not there; the text says why and what would be right."""


class SealingKeyMissing(KeyRingUnusable):
    """Something is sealed with a key that the ring does not have; the text names the key."""


class SealBroken(StoreCorrupt):
    """Sealed content is not what was sealed, or not where it belongs; it cannot be read."""


class InvalidSettings(ImserverError):
    """A setting is unknown or has a wrong value; the text names it and what would be right."""
