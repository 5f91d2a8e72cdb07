"""How events come out of SQLite: all of them in one row, so that a thread waits once and not per event.

Stepping from row to row gives the interpreter lock away each time, and beside a busy event loop taking it
back costs hundreds of microseconds. So SQLite gathers everything but the bodies into a JSON array, and the
bodies into one blob, which is cut up here by their lengths. It joins blobs as text without looking at them
(its texts are bytes with a length), so any bytes come back as they were. Bodies that are sealed are
opened here, too.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw

from imserver.protocol.events import Event

EventRow: TypeAlias = tuple[int, int, str, str, str, int | None, int]
"""seq, ts, sender, cid, kind, ref, bytes of the body: below zero if it is sealed."""

Opener: TypeAlias = Callable[[int, Event], Event]
"""Returns an event, given with its number among those that are decoded, with its body opened."""

_event_rows: Final = msgspec.json.Decoder(list[EventRow]).decode


def decode_events(rows: str, bodies: bytes, opener: Opener, *, strict: bool) -> list[Event]:
    """Return the events of a JSON array of `EventRow` and of their bodies, joined.

    ``strict``: also bodies that are not sealed go to the opener, which refuses them.
    """
    events: list[Event] = []
    start = 0
    for seq, ts, sender, cid, kind, ref, size in _event_rows(rows):
        end = start + abs(size)
        event = Event(seq, ts, sender, cid, kind, Raw(bodies[start:end]), ref)
        events.append(event if size >= 0 and not strict else opener(len(events), event))
        start = end
    return events


def encode_json(values: object) -> str:
    """Return a list or map of parameters as SQLite takes it: in JSON."""
    return msgspec.json.encode(values).decode()
