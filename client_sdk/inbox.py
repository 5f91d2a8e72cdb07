"""What comes in: each conversation's cursors, and the events that wait for the application.

The story. A conversation has three places in its log: what was *received* into the queue here, what the
application has *processed*, and what was *acked* on this connection. A run of events is let in only if it
continues what was received. What was received before is skipped, so nothing is shown twice. If a run begins
too late, a hole shows: it is dropped and the log is asked for again from the hole on, so nothing is skipped.
What the server declares lost for good becomes a `Gap` in the queue, at its place.

Memory is bounded by the server's promise: at most ``window`` events of a conversation beyond its acks, and
acks follow what the application has processed. After a reconnect delivery resumes behind what was
processed; what is still in the queue comes again and is skipped.

Sans-I/O: no clock, no socket. Called by the machine as frames come in and by the reader as it takes events.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from msgspec import Raw

from client_sdk.records import Event, Gap
from imserver.protocol.client_frames import Ack, Position
from imserver.protocol.events import Event as WireEvent
from imserver.protocol.server_frames import ConversationState, Deliver, Head
from imserver.protocol.server_frames import Gap as GapFrame

ACK_DELAY_S = 0.05
ACK_EVENTS_MAX = 64
PATIENCE_S = 2.0
"""How long what was asked for, or announced, may take to arrive before it is asked for again."""

Item: TypeAlias = Event | Gap


class _Conversation:
    """A conversation's places.

    Attributes:
        received: seq of the last event let in; None while the next run says where the log goes on.
        processed: seq up to which the application is done; None before its first event.
        acked: what the server knows to be processed.
        offered: highest seq that came over this connection: no more than that may be acked on it.
        head: highest seq known to exist.
    """

    __slots__ = ("acked", "epoch", "head", "name", "offered", "processed", "received")

    def __init__(self, name: str, epoch: str) -> None:
        self.name = name
        self.epoch = epoch
        self.received: int | None = None
        self.processed: int | None = None
        self.acked = 0
        self.offered = 0
        self.head = 0


class Inbox:
    """The conversations of a robot as they come in.

    Attributes:
        received: events handed to the application.
        repeated: events that came again.
        repairs: times that a hole made the log be asked for again.
        gaps: holes that will not be filled.
    """

    def __init__(self, decode_body: Callable[[Raw], Any], *, window: int) -> None:
        self._decode_body = decode_body
        self._window = window
        self._ack_events_max = max(1, min(ACK_EVENTS_MAX, window // 2))
        self._conversations: dict[str, _Conversation] = {}
        self._queue: deque[tuple[_Conversation, str, WireEvent] | Gap] = deque()
        self._unacked: dict[_Conversation, None] = {}
        self._ack_due_s: float | None = None
        self._suspects: dict[_Conversation, tuple[float, int]] = {}
        self._repairs: list[tuple[str, int]] = []
        self.received = 0
        self.repeated = 0
        self.repairs = 0
        self.gaps = 0

    def __len__(self) -> int:
        return len(self._queue)

    def epoch_of(self, conv: str) -> str:
        """Return the epoch under which a conversation is known here, or empty text."""
        conversation = self._conversations.get(conv)
        return conversation.epoch if conversation is not None else ""

    def resume(self) -> dict[str, Position]:
        """Begin a connection: return how far the application has processed each conversation."""
        self._unacked.clear()
        self._suspects.clear()
        self._repairs.clear()
        self._ack_due_s = None
        positions = {}
        for conversation in self._conversations.values():
            conversation.offered = 0
            if conversation.processed is not None:
                positions[conversation.name] = Position(conversation.epoch, conversation.processed)
        return positions

    def welcome(self, states: Iterable[ConversationState]) -> None:
        """Learn where the server begins to deliver conversations that were not resumed."""
        for state in states:
            conversation = self._conversation(state.conv, state.epoch)
            conversation.acked = state.acked
            resumed = conversation.processed is not None and state.epoch == conversation.epoch
            if conversation.received is None:
                conversation.received = conversation.processed if resumed else state.acked
            if resumed and conversation.processed is not None:
                conversation.offered = conversation.processed
                self._acknowledge(conversation, 0.0)

    def place(self, conv: str, after: int) -> None:
        """Expect a conversation from after ``after`` on, as its reader asked."""
        conversation = self._conversation(conv, "")
        self._queue = deque(item for item in self._queue if _name_of(item) != conv)
        conversation.received = after
        conversation.processed = None
        conversation.acked = min(conversation.acked, after)

    def place_of(self, conv: str) -> int | None:
        """Return the seq behind which a conversation goes on, or None if it is not known here."""
        conversation = self._conversations.get(conv)
        return conversation.received if conversation is not None else None

    def deliver(self, frame: Deliver, now_s: float) -> None:
        """Let in a run of events as far as it continues the log."""
        events = frame.events
        if not events:
            return
        conversation = self._conversation(frame.conv, frame.epoch)
        first, last = events[0].seq, events[-1].seq
        if conversation.epoch != frame.epoch:
            self._change_epoch(conversation, frame.epoch, first)
        conversation.offered = max(conversation.offered, last)
        conversation.head = max(conversation.head, last)
        expected = first if conversation.received is None else conversation.received + 1
        if first > expected or last - first + 1 != len(events):
            self._repair(conversation, now_s)
            return
        if first < expected:
            self.repeated += min(expected - first, len(events))
            events = events[expected - first :]
        if events:
            epoch = frame.epoch
            self._queue.extend([(conversation, epoch, event) for event in events])
            conversation.received = last
        if self._suspects and conversation.received == conversation.head:
            self._suspects.pop(conversation, None)
        if conversation.processed is not None and conversation.processed > conversation.acked:
            self._acknowledge(conversation, now_s)

    def gap(self, frame: GapFrame) -> None:
        """Put a hole that will not be filled in its place; the next run says where the log goes on."""
        conversation = self._conversation(frame.conv, frame.epoch)
        self._lose(conversation, frame.epoch, (frame.from_, frame.to), frame.why)

    def announced(self, frame: Head, now_s: float) -> None:
        """Note a conversation's head; if its events do not come in a while, they are asked for."""
        conversation = self._conversations.get(frame.conv)
        if conversation is None or conversation.received is None:
            return
        if conversation.epoch == frame.epoch and frame.seq > conversation.received:
            conversation.head = max(conversation.head, frame.seq)
            self._suspects.setdefault(conversation, (now_s + PATIENCE_S, conversation.received))

    def beyond_repair(self, conv: str, why: str) -> None:
        """Give up a hole: the server refuses to deliver what is missing."""
        conversation = self._conversations.get(conv)
        if conversation is None or conversation.received is None:
            return
        first = conversation.received + 1
        missing = (first, max(first, conversation.head))
        self._lose(conversation, conversation.epoch, missing, why)

    def next(self) -> Item | None:
        """Take the next event or gap, or None if there is none yet."""
        if not self._queue:
            return None
        item = self._queue.popleft()
        if isinstance(item, Gap):
            return item
        conversation, epoch, event = item
        self.received += 1
        return Event(
            conversation.name,
            epoch,
            event.seq,
            event.ts,
            event.sender,
            event.cid,
            event.kind,
            event.ref,
            self._decode_body(event.body),
        )

    def processed(self, item: Item, now_s: float) -> bool:
        """Note that the application is done with an item, and tell whether acks should go out at once."""
        if isinstance(item, Gap):
            return False
        conversation = self._conversations.get(item.conv)
        if conversation is None or conversation.epoch != item.epoch:
            return False
        if conversation.processed is None or item.seq > conversation.processed:
            conversation.processed = item.seq
        self._acknowledge(conversation, now_s)
        return conversation.processed - conversation.acked >= self._ack_events_max

    def take_acks(self) -> list[Ack]:
        """Return what is to be acked now."""
        self._ack_due_s = None
        acks = []
        for conversation in self._unacked:
            seq = min(conversation.processed or 0, conversation.offered)
            if seq > conversation.acked:
                conversation.acked = seq
                acks.append(Ack(conversation.name, seq))
        self._unacked.clear()
        return acks

    def take_repairs(self) -> list[tuple[str, int]]:
        """Return the conversations to be asked for again, each with the seq after which it goes on."""
        repairs, self._repairs = self._repairs, []
        return repairs

    def tick(self, now_s: float) -> None:
        """Ask for what was announced or asked for, and has not come."""
        for conversation, (due_s, received) in list(self._suspects.items()):
            if due_s <= now_s:
                del self._suspects[conversation]
                self._look_again(conversation, received, now_s)

    def ack_is_due(self, now_s: float) -> bool:
        """Tell whether acks have waited long enough for others to go with them."""
        return self._ack_due_s is not None and self._ack_due_s <= now_s

    def next_deadline_s(self) -> float | None:
        """Return when there is something to do although nothing comes in."""
        due_s = self._ack_due_s
        for suspected_s, _ in self._suspects.values():
            due_s = suspected_s if due_s is None else min(due_s, suspected_s)
        return due_s

    def _conversation(self, name: str, epoch: str) -> _Conversation:
        conversation = self._conversations.get(name)
        if conversation is None:
            conversation = self._conversations[name] = _Conversation(name, epoch)
        elif not conversation.epoch:
            conversation.epoch = epoch
        return conversation

    def _acknowledge(self, conversation: _Conversation, now_s: float) -> None:
        self._unacked[conversation] = None
        if self._ack_due_s is None:
            self._ack_due_s = now_s + ACK_DELAY_S

    def _change_epoch(self, conversation: _Conversation, epoch: str, first: int) -> None:
        known = conversation.head if conversation.received is None else conversation.received
        self._lose(conversation, epoch, (first, max(first, known)), "restored")

    def _lose(
        self, conversation: _Conversation, epoch: str, missing: tuple[int, int], why: str
    ) -> None:
        first, last = missing
        self.gaps += 1
        self._queue.append(Gap(conversation.name, epoch, first, last, why))
        self._suspects.pop(conversation, None)
        if conversation.epoch != epoch:
            conversation.epoch = epoch
            conversation.processed = None
            conversation.acked = conversation.offered = conversation.head = 0
        conversation.received = None

    def _repair(self, conversation: _Conversation, now_s: float) -> None:
        if conversation.received is None or conversation in self._suspects:
            return
        self.repairs += 1
        self._repairs.append((conversation.name, conversation.received))
        self._suspects[conversation] = (now_s + PATIENCE_S, conversation.received)

    def _look_again(self, conversation: _Conversation, received: int, now_s: float) -> None:
        if conversation.received is None or conversation.received >= conversation.head:
            return
        window_is_used_up = conversation.received - conversation.acked >= self._window
        if conversation.received > received or window_is_used_up:
            self._suspects[conversation] = (now_s + PATIENCE_S, conversation.received)
        else:
            self._repair(conversation, now_s)


def _name_of(item: tuple[_Conversation, str, WireEvent] | Gap) -> str:
    return item.conv if isinstance(item, Gap) else item[0].name
