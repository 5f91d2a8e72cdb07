"""A page of a log as it fills up, from the cache and then from the store, by the rules of
`EventLog.read_after`."""

from typing import NamedTuple

from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName


class Wanted(NamedTuple):
    """What was asked of `EventLog.read_after`."""

    conv: ConversationName
    after: int
    limit: int
    bytes_max: int


class Page:
    """The events found so far, in order and without a hole.

    Attributes:
        is_full: no more may be added.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.events: list[Event] = []
        self.is_full = wanted.limit <= 0
        self._size = 0

    @property
    def rest(self) -> Wanted:
        """What is still to be asked for."""
        conv, after, limit, bytes_max = self.wanted
        if self.events:
            after = self.events[-1].seq
        return Wanted(conv, after, limit - len(self.events), max(bytes_max - self._size, 0))

    def add(self, event: Event) -> None:
        """Add the event that follows, unless the page is full without it."""
        size = self._size + len(event.body)
        if self.events and size > self.wanted.bytes_max:
            self.is_full = True
            return
        self.events.append(event)
        self._size = size
        self.is_full = len(self.events) == self.wanted.limit
