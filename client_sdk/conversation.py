"""One conversation as it comes in: its places in the log, and what is due because of them.

Sans-I/O; the parts of `inbox`.
"""

from typing import Final

from client_sdk.memory import Place
from imserver.protocol.client_frames import Ack

ACK_DELAY_S: Final = 0.05
ACK_EVENTS_MAX: Final = 64
PATIENCE_S: Final = 2.0
"""How long what was asked for, or announced, may take to arrive before it is asked for again."""


class Conversation:
    """A conversation's places.

    Attributes:
        received: seq of the last event let in; None while the next run says where the log goes on.
        taken: seq up to which the application was handed the log.
        processed: seq up to which the application is done; None before its first event.
        begun: seq behind which it began, by the server's word; 0 if that is the beginning or not known.
        is_witness: it has received more than the server has, which is to be told.
        kept: seq that the robot's memory has, or is getting; None if it has none of this numbering.
        acked: what the server knows to be processed.
        offered: highest seq that came over this connection: no more than that may be acked on it.
        head: highest seq known to exist.
    """

    __slots__ = (
        "acked",
        "begun",
        "epoch",
        "head",
        "is_witness",
        "kept",
        "name",
        "offered",
        "processed",
        "received",
        "taken",
    )

    def __init__(self, name: str, epoch: str) -> None:
        self.name = name
        self.epoch = epoch
        self.received: int | None = None
        self.processed: int | None = None
        self.begun = 0
        self.is_witness = False
        self.kept: int | None = None
        self.taken = 0
        self.acked = 0
        self.offered = 0
        self.head = 0

    @property
    def place(self) -> int | None:
        """Where to go on after a reconnect; None to leave it to the server."""
        if self.is_witness:
            return self.received
        return self.processed if self.processed is not None else self.begun or None

    @property
    def is_behind(self) -> bool:
        """Whether there is more in the log than was received."""
        return self.received is not None and self.received < self.head

    def renumber(self, epoch: str, after: int) -> None:
        """Go on behind ``after`` in a log whose further numbers are given anew."""
        self.epoch = epoch
        self.processed = self.kept = None
        self.is_witness = False
        self.received = self.taken = self.acked = self.offered = self.head = self.begun = after

    def witness(self, head: int, place: int | None) -> bool:
        """Note that the server's ``head`` is short of what was received here.

        Return whether it takes another hello to tell: ``place``, which the last one showed, told nothing.
        """
        is_untold = not self.is_witness and head >= (place or 0)
        self.is_witness = True
        return is_untold

    def process(self, seq: int) -> bool:
        """Note that the application is done up to ``seq``, if it was handed that much; tell whether."""
        if seq > self.taken:
            return False
        if self.processed is None or seq > self.processed:
            self.processed = seq
        return True


class Acks:
    """Conversations with something to ack; acks wait a moment for others to go with them.

    Attributes:
        due_s: when they go out at the latest; None if there are none.
    """

    def __init__(self, window: int) -> None:
        self._events_max = max(1, min(ACK_EVENTS_MAX, window // 2))
        self._conversations: dict[Conversation, None] = {}
        self.due_s: float | None = None

    def note(self, conversation: Conversation, now_s: float) -> bool:
        """Note that more is processed; tell whether it is so much that acks should go out at once."""
        self._conversations[conversation] = None
        if self.due_s is None:
            self.due_s = now_s + ACK_DELAY_S
        return (conversation.processed or 0) - conversation.acked >= self._events_max

    def take(self) -> list[Ack]:
        """Return what is to be acked now."""
        acks = []
        for conversation in self._conversations:
            seq = min(conversation.processed or 0, conversation.offered)
            if seq > conversation.acked:
                conversation.acked = seq
                acks.append(Ack(conversation.name, seq))
        self.clear()
        return acks

    def clear(self) -> None:
        """Forget what was noted."""
        self._conversations.clear()
        self.due_s = None


class Places:
    """Conversations whose place has moved and is to go into the robot's memory.

    Attributes:
        due_s: when they go at the latest; None if there are none.
    """

    def __init__(self) -> None:
        self._conversations: dict[Conversation, None] = {}
        self.due_s: float | None = None

    def note(self, conversation: Conversation, now_s: float) -> None:
        """Note that more is processed."""
        self._conversations[conversation] = None
        if self.due_s is None:
            self.due_s = now_s + ACK_DELAY_S

    def take(self) -> list[Place]:
        """Return the places to keep now. In one numbering they only move forwards."""
        places = []
        for conversation in self._conversations:
            seq = conversation.processed
            if seq is not None and (conversation.kept is None or seq > conversation.kept):
                conversation.kept = seq
                places.append(Place(conversation.name, conversation.epoch, seq))
        self._conversations.clear()
        self.due_s = None
        return places


class Repairs:
    """Conversations in which something is missing, or may be.

    Attributes:
        asked: times that a hole made the log be asked for again.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._suspects: dict[Conversation, tuple[float, int | None]] = {}
        self._to_ask: list[tuple[str, int]] = []
        self.asked = 0

    def ask(self, conversation: Conversation, now_s: float) -> None:
        """Ask for the log from behind what was received, unless that was done a moment ago."""
        if conversation.received is None or conversation in self._suspects:
            return
        self.asked += 1
        self._to_ask.append((conversation.name, conversation.received))
        self.suspect(conversation, now_s)

    def suspect(self, conversation: Conversation, now_s: float) -> None:
        """Look in a while whether the head that is known has come."""
        if conversation.received is not None:
            self._suspects.setdefault(conversation, (now_s + PATIENCE_S, conversation.received))

    def put_off(self, conversation: Conversation | None, now_s: float) -> None:
        """Ask for the log again in a while, whether more of it is known or not."""
        if conversation is not None:
            self._suspects[conversation] = (now_s + PATIENCE_S, None)

    def settle(self, conversation: Conversation) -> None:
        """Note that nothing is missing any more."""
        if self._suspects:
            self._suspects.pop(conversation, None)

    def take(self) -> list[tuple[str, int]]:
        """Return the conversations to be asked for now, each with the seq after which it goes on."""
        to_ask, self._to_ask = self._to_ask, []
        return to_ask

    def tick(self, now_s: float) -> None:
        """Ask for what has not come in time; a used-up window is the application's pace, and no loss."""
        for conversation, (due_s, before) in list(self._suspects.items()):
            if due_s > now_s:
                continue
            del self._suspects[conversation]
            received = conversation.received
            if before is None:
                self.ask(conversation, now_s)
                continue
            if received is None or not conversation.is_behind:
                continue
            if received > before or received - conversation.acked >= self._window:
                self.suspect(conversation, now_s)
            else:
                self.ask(conversation, now_s)

    def next_deadline_s(self) -> float | None:
        """Return when `tick` has something to do."""
        return min((due_s for due_s, _ in self._suspects.values()), default=None)

    def clear(self) -> None:
        """Forget what was asked for: a new connection delivers everything anyway."""
        self._suspects.clear()
        self._to_ask.clear()
