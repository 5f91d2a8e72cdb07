"""Seals the bodies of events at rest: the seam between the key ring and every engine that keeps events.

An engine is given an `EventSeal`, or None where sealing is off, and uses it where rows are made and read:
above it nobody knows of seals. It is a collaborator of the engines and no wrapper around them, since only
inside can the seq be bound (it is given in the transaction), a repeated cid be compared with the body that
is stored, and rows be sealed anew. An engine keeps, in each row, `EventSeal.seal`'s bytes in place of the
body, and by which key it is sealed (`key_number`), or that it is not: so rows of several keys, and rows that
were stored before sealing was turned on, stand side by side.

A seal binds the body to everything else in its row: conversation, seq, ts, sender, cid, kind and ref. A row
of which any was changed, or a body that was put into another row, is refused with `SealBroken` and named."""

from typing import Final

import msgspec
from msgspec import Raw, structs

from imserver.core.errors import SealBroken, SealingKeyMissing
from imserver.core.key_ring import KeyId, KeyRing, sealed_with
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName

PLAIN: Final = "plain"
"""What a store says bodies are sealed with, beside ids of keys, where some are not."""

_USE: Final = "event"
_encode = msgspec.msgpack.Encoder().encode


class EventSeal:
    """Seals and opens the bodies of events with the keys of a ring. For any number of threads.

    Attributes:
        ring: the keys.
        strict: whether every body is sealed by now, so that one that is not has been put there by somebody.
            The engine sets it.
    """

    def __init__(self, ring: KeyRing) -> None:
        self.ring: Final = ring
        self.strict = False

    def seal(self, conv: ConversationName, event: Event) -> bytes:
        """Return the sealed body of ``event``, as a row keeps it."""
        return self.ring.seal(bytes(event.body), _place(conv, event))

    def open(self, conv: ConversationName, event: Event) -> Event:
        """Return ``event``, whose body is as a row keeps it, with the body that was sealed.

        Raises:
            SealBroken: the body or its row was changed; the text names the event. Also where the ring lacks
                the key: engines refuse to open a store without the keys that it uses, so this one is wrong.
        """
        try:
            body = self.ring.open(bytes(event.body), _place(conv, event))
        except (SealBroken, SealingKeyMissing) as exc:
            raise SealBroken(f"the body of {conv} {event.seq}, by {event.sender}: {exc}") from exc
        return structs.replace(event, body=Raw(body))


def refused(conv: ConversationName, event: Event) -> SealBroken:
    """Return what to raise where a body is sealed and the engine has no seal."""
    return SealBroken(
        f"the body of {conv} {event.seq} is marked as sealed, in a store without sealed bodies"
    )


def key_number(sealed: bytes) -> int:
    """Return the number of the key that ``sealed`` says it is sealed with, as rows keep it."""
    return int.from_bytes(sealed[:4], "big")


def number_of(key: KeyId) -> int:
    """Return the number of a key, as rows keep it."""
    return int(key, 16)


def key_of(number: int) -> KeyId:
    """Return the key of a row's number."""
    return sealed_with(number.to_bytes(4, "big"))


def _place(conv: ConversationName, event: Event) -> bytes:
    return _encode(
        (_USE, conv, event.seq, event.ts, event.sender, event.cid, event.kind, event.ref)
    )
