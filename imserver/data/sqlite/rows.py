"""How an event stands in its row: packed, as it goes over the wire in MessagePack (`protocol.packed_events`).

A page of a log is then what its rows hold, one after the other, and so bodies have to be well-formed, as
`protocol.bodies` makes them. SQLite joins rows as text without looking at them (its texts are bytes with a
length), so any bytes come back as they were. It does that in one row: stepping from row to row gives the
interpreter lock away each time, and taking it back beside a busy event loop costs hundreds of microseconds.

The body of a sealed event is an extension value there, which no client can send (`protocol.bodies`): so each
event says by itself whether it is sealed, and with it all that its seal is bound to.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw, structs
from msgspec.msgpack import Ext

from imserver.core.errors import StoreCorrupt
from imserver.data.sealing import EventSeal, refused
from imserver.protocol.events import EDIT, REDACT, Event
from imserver.protocol.names import ConversationName
from imserver.protocol.packed_events import array, unpacked

_SEALED: Final = 1  # the type of the extension value
_EXT_FIRST: Final = frozenset({*range(0xC7, 0xCA), *range(0xD4, 0xD9)})

pack: Final[Callable[[Event], bytes]] = msgspec.msgpack.Encoder().encode
"""Returns an event as its row holds it, with its body as it is."""

_unpack: Final = msgspec.msgpack.Decoder(Event).decode
_body: Final = msgspec.msgpack.Decoder(Ext).decode


def pack_sealed(event: Event, sealed: bytes) -> bytes:
    """Return an event as its row holds it, with ``sealed`` in place of its body."""
    body = Raw(msgspec.msgpack.encode(Ext(_SEALED, sealed)))
    return pack(structs.replace(event, body=body))


def unpack(packed: bytes) -> Event:
    """Return the event of a row, with its body as it stands there.

    Raises:
        StoreCorrupt: it holds none.
    """
    try:
        event: Event = _unpack(packed)
    except msgspec.MsgspecError as exc:
        raise _corrupt(exc) from exc
    return event


def unpack_all(count: int, packed: bytes) -> list[Event]:
    """Return the events of ``count`` rows, one after the other, with their bodies as they stand there.

    Raises:
        StoreCorrupt: they are not so many, or none.
    """
    try:
        return unpacked(Raw(array(count, packed)))
    except msgspec.MsgspecError as exc:
        raise _corrupt(exc) from exc


def sealed_body(event: Event) -> bytes | None:
    """Return the sealed body of an event as it stands in a row; None if it is not sealed."""
    if memoryview(event.body)[0] not in _EXT_FIRST:
        return None
    return bytes(_body(event.body).data)


def as_sealed(event: Event) -> Event:
    """Return an event as it stands in a row in the form that `EventSeal.open` takes."""
    sealed = sealed_body(event)
    return event if sealed is None else structs.replace(event, body=Raw(sealed))


def opened(conv: ConversationName, event: Event, seal: EventSeal | None) -> Event:
    """Return an event, as it stands in a row, with the body that was sent.

    Raises:
        SealBroken: that cannot be had: the seal is broken, there is none where all bodies are sealed, or one
            where sealing is off.
    """
    sealed = sealed_body(event)
    if sealed is None:
        if seal is None or not seal.strict:
            return event
    elif seal is None:
        raise refused(conv, event)
    else:
        event = structs.replace(event, body=Raw(sealed))
    return seal.open(conv, event)


def amends(kind: str, ref: int | None) -> int | None:
    """Return what stands in the column ``amends``."""
    if ref is None or kind not in (EDIT, REDACT):
        return None
    return ref if kind == EDIT else -ref


def encode_json(values: object) -> str:
    """Return a list or map of parameters as SQLite takes it: in JSON."""
    return msgspec.json.encode(values).decode()


def _corrupt(exc: Exception) -> StoreCorrupt:
    return StoreCorrupt(f"a row of the store holds no event ({exc}); see `imserver check`")
