"""How events come out of SQLite: all of them in one row, so that a thread waits once and not per event.

Stepping from row to row gives the interpreter lock away each time, and beside a busy event loop taking it
back costs hundreds of microseconds. So SQLite gathers everything but the bodies into a JSON array, and the
bodies into one blob, which is cut up here by their lengths. It joins blobs as text without looking at them
(its texts are bytes with a length), so any bytes come back as they were.
"""

from typing import Final, TypeAlias

import msgspec
from msgspec import Raw

from imserver.protocol.events import Event

EventRow: TypeAlias = tuple[int, int, str, str, str, int | None, int]
"""seq, ts, sender, cid, kind, ref, bytes of the body."""

_event_rows: Final = msgspec.json.Decoder(list[EventRow]).decode


def decode_events(rows: str, bodies: bytes) -> list[Event]:
    """Return the events of a JSON array of `EventRow` and of their bodies, joined."""
    events = []
    start = 0
    for seq, ts, sender, cid, kind, ref, size in _event_rows(rows):
        end = start + size
        events.append(Event(seq, ts, sender, cid, kind, Raw(bodies[start:end]), ref))
        start = end
    return events


def encode_json(values: object) -> str:
    """Return a list or map of parameters as SQLite takes it: in JSON."""
    return msgspec.json.encode(values).decode()
