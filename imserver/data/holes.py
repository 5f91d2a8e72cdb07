"""What a page of a damaged log is: one in which an event is missing that was not let go.

No page reaches across such a hole, in either direction, and none begins beside one as if there were nothing
further: a reader would take it for the end of the log, or go on behind it as if it had seen everything.
"""

from collections.abc import Sequence

from imserver.core.errors import EventMissing
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName


def run_from(conv: ConversationName, first: int, page: Sequence[Event]) -> list[Event]:
    """Return the events of a page from seq ``first`` on, up to the first that is missing.

    Raises:
        EventMissing: there is none with this seq.
    """
    run = [event for seq, event in enumerate(page, first) if event.seq == seq]
    if not run:
        raise hole_in(conv, first)
    return run


def last_run(page: list[Event]) -> list[Event]:
    """Return the events of a page behind the last that is missing in it."""
    if not page or page[-1].seq - page[0].seq < len(page):
        return page
    last = page[-1].seq - len(page) + 1
    return [event for seq, event in enumerate(page, last) if event.seq == seq]


def hole_in(conv: ConversationName, seq: int) -> EventMissing:
    """Return the error that says that an event is missing."""
    return EventMissing(f"event {seq} is missing in the log of {conv}; see `imserver check`")
