"""The states of a robot's connection and the moves between them, in one table."""

import enum
from typing import Final


class State(enum.Enum):
    """Where a robot's connection is."""

    NEW = "new"
    CONNECTING = "connecting"
    REGISTERING = "registering"
    AUTHENTICATING = "authenticating"
    ONLINE = "online"
    WAITING = "waiting"
    OVER = "over"


MOVES: Final[dict[State, frozenset[State]]] = {
    State.NEW: frozenset({State.CONNECTING, State.OVER}),
    State.CONNECTING: frozenset(
        {State.REGISTERING, State.AUTHENTICATING, State.WAITING, State.OVER}
    ),
    State.REGISTERING: frozenset({State.AUTHENTICATING, State.WAITING, State.OVER}),
    State.AUTHENTICATING: frozenset({State.ONLINE, State.WAITING, State.OVER}),
    State.ONLINE: frozenset({State.WAITING, State.OVER}),
    State.WAITING: frozenset({State.CONNECTING, State.OVER}),
    State.OVER: frozenset(),
}

CONNECTED: Final = frozenset({State.REGISTERING, State.AUTHENTICATING, State.ONLINE})
"""The states in which there is a transport."""
