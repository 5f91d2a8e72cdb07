"""Bodies as they stand in MongoDB: sealed, where a deployment seals them, and opened as they are read."""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from imserver.core.errors import KeyRingUnusable, SealBroken, StoreUnavailable
from imserver.core.key_ring import KeyId
from imserver.data.key_ring_file import KeyRingFile
from imserver.data.mongo.plan import Insert
from imserver.data.mongo.rows import Document, conv_of, event_of
from imserver.data.sealing import PLAIN, EventSeal, key_number, key_of, refused
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName

_READ_AGAIN_S: Final = 1.0
_LOOKS: Final = 2
"""One of the store's word may have been under way when a key was met; the next one was not."""

_UNKNOWN_MAX: Final = 1_000
_log: Final = logging.getLogger(__name__)


class Bodies:
    """Seals and opens bodies with the ring in a file; without one, they stand as they were sent.

    Another node may seal with a key that this one was not told of yet. It is looked for in the file, where
    an operator brings new keys before the first node is told to use them. A key that is not there is lacked,
    as long as the store may know it; what is sealed with one that the store does not know either is damaged.

    Attributes:
        seal: what seals and opens them, or None.
        words: what the store says bodies are sealed with, as this node last saw it.
        is_out: bodies are sealed since this node was started, and it has no keys: it may store nothing.
    """

    def __init__(self, keys: KeyRingFile | None) -> None:
        """Read the ring.

        Raises:
            KeyRingUnusable: it is not there, or cannot be used.
        """
        self._keys = keys
        self.seal = None if keys is None else EventSeal(keys.load())
        self.words: Collection[str] = ()
        self.is_out = False
        self._read_s = float("-inf")
        self._unknown: dict[KeyId, int] = {}

    def note_words(self, words: Collection[str]) -> None:
        """Take in what the store says that bodies are sealed with."""
        self.words = words
        self._unknown = {key: n + 1 for key, n in self._unknown.items() if key not in words}
        if self.seal is not None:
            self.seal.strict = PLAIN not in words

    def require_in(self) -> None:
        """Return if this node may store anything.

        Raises:
            StoreUnavailable: it may not.
        """
        if self.is_out:
            raise StoreUnavailable(
                "bodies in this store are sealed since this server was started; start it again with the key "
                "ring (sealing.enabled)"
            )

    def document_of(self, insert: Insert) -> Document:
        """Return an event's document as it is stored."""
        if self.seal is None:
            return insert.document
        return insert.document | self.sealed(conv_of(insert.document), insert.outcome.event)

    def sealed(self, conv: ConversationName, event: Event) -> Document:
        """Return the fields of an event's document that its sealed body takes."""
        assert self.seal is not None, "asked where bodies are sealed"
        body = self.seal.seal(conv, event)
        return {"body": body, "sealed": key_number(body)}

    def event_of(self, document: Document) -> Event:
        """Return the event that a document holds, as it was sent.

        Raises:
            SealBroken: it was changed, or moved.
            StoreUnavailable: it is sealed with a key that this node has yet to be given.
        """
        event = event_of(document)
        number = document.get("sealed")
        if number is None and (self.seal is None or not self.seal.strict):
            return event
        conv = conv_of(document)
        try:
            if self.seal is None:
                raise refused(conv, event)
            if number is not None:
                self._find_key(key_of(number), self.seal)
            return self.seal.open(conv, event)
        except SealBroken as exc:
            _log.error("sealing.broken", extra={"reason": str(exc)})
            raise

    def event_to_compare(self, document: Document) -> Event:
        """Return the same for who compares it with one that is sent. A body that is damaged stays as it is,
        so that none is the same, and no other event suffers."""
        try:
            return self.event_of(document)
        except SealBroken:
            return event_of(document)

    def _find_key(self, key: KeyId, seal: EventSeal) -> None:
        if key in seal.ring.ids or self._keys is None:
            return
        now_s = asyncio.get_running_loop().time()
        if now_s - self._read_s > _READ_AGAIN_S:
            self._read_s = now_s
            self._read_ring(self._keys, seal)
        if key in seal.ring.ids:
            return
        if len(self._unknown) > _UNKNOWN_MAX:
            self._unknown.clear()
        if key in self.words or self._unknown.setdefault(key, 0) < _LOOKS:
            raise StoreUnavailable(
                f"bodies are sealed with key {key}, which was not found in {self._keys.path}: give every "
                "node the ring that has it"
            )

    @staticmethod
    def _read_ring(keys: KeyRingFile, seal: EventSeal) -> None:
        try:
            seal.ring.learn(keys.load())
        except KeyRingUnusable as exc:
            _log.error("sealing.ring_refused", extra={"reason": str(exc)})
        else:
            _log.info("sealing.ring_read_again", extra={"key": seal.ring.current})
