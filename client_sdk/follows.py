"""Conversations that are asked for by `follow`: by the application, or because something is missing.

Sans-I/O. Called by the machine.
"""

import itertools

from client_sdk.inbox import Inbox
from imserver.protocol.client_frames import Follow


class Follows:
    """Asked-for conversations.

    Attributes:
        wanted: those that the application asked for; they are asked for again after a reconnect.
    """

    def __init__(self, ids: "itertools.count[int]") -> None:
        self._ids = ids
        self._under_way: dict[int, str] = {}
        self.wanted: set[str] = set()

    def ask(self, conv: str, after: int) -> Follow:
        """Return the frame that asks for a conversation from after ``after`` on."""
        request_id = next(self._ids)
        self._under_way[request_id] = conv
        return Follow(request_id, conv, after)

    def ask_again(self, inbox: Inbox) -> list[Follow]:
        """Return the frames that ask, on a new connection, for what the application wants."""
        places = [(conv, inbox.known(conv)) for conv in self.wanted]
        return [
            self.ask(conv, place.received)
            for conv, place in places
            if place is not None and place.received is not None
        ]

    def ended(self, request_id: int) -> str | None:
        """Note an answer; return the conversation that was asked for, if it answers that."""
        return self._under_way.pop(request_id, None)

    def clear(self) -> None:
        """Forget what is under way: its connection is gone."""
        self._under_way.clear()
