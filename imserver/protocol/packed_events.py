"""Events of a log as `deliver` carries them in MessagePack, so that nobody encodes them again.

A store may keep events in this form, and a page of its log then goes from the disk to a connection without an
event being made of any of its bytes. Who wants the events themselves has them decoded.
"""

from typing import Final

import msgspec
from msgspec import Raw, Struct

from imserver.protocol.events import Event

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Event]).decode
_FEW: Final = 15
_MANY: Final = 0xFFFF


class PackedEvents(Struct, frozen=True, gc=False):
    """Events of one log with consecutive seq, ``first`` to ``last``: at least one.

    Attributes:
        packed: a MessagePack array of the events.
    """

    first: int
    last: int
    packed: Raw

    @property
    def events(self) -> list[Event]:
        """The events, decoded anew each time."""
        return unpacked(self.packed)


def pack(events: list[Event]) -> PackedEvents | None:
    """Return events of consecutive seq in this form; None if there are none."""
    if not events:
        return None
    return PackedEvents(events[0].seq, events[-1].seq, Raw(_encode(events)))


def unpacked(packed: Raw) -> list[Event]:
    """Return the events of a MessagePack array.

    Raises:
        msgspec.MsgspecError: it is none of events.
    """
    events: list[Event] = _decode(packed)
    return events


def array(count: int, items: bytes) -> bytes:
    """Return a MessagePack array of ``count`` values that are encoded already, one after the other."""
    if count <= _FEW:
        return bytes((0x90 | count,)) + items
    if count <= _MANY:
        return b"\xdc" + count.to_bytes(2) + items
    return b"\xdd" + count.to_bytes(4) + items
