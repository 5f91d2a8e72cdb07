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

from client_sdk.conversation import Acks, Conversation, Repairs
from client_sdk.records import Event, Gap
from imserver.protocol.client_frames import Position
from imserver.protocol.events import Event as WireEvent
from imserver.protocol.server_frames import ConversationState, Deliver, Head
from imserver.protocol.server_frames import Gap as GapFrame

Item: TypeAlias = Event | Gap


class Inbox:
    """The conversations of a robot as they come in.

    Attributes:
        acks: what is processed and not acked yet.
        repairs: what is missing.
        received: events handed to the application.
        repeated: events that came again.
        gaps: holes that will not be filled.
    """

    def __init__(self, decode_body: Callable[[Raw], Any], *, window: int) -> None:
        self._decode_body = decode_body
        self._conversations: dict[str, Conversation] = {}
        self._queue: deque[tuple[Conversation, str, WireEvent] | Gap] = deque()
        self.acks = Acks(window)
        self.repairs = Repairs(window)
        self.received = 0
        self.repeated = 0
        self.gaps = 0

    def __len__(self) -> int:
        return len(self._queue)

    def known(self, conv: str) -> Conversation | None:
        """Return a conversation's places, or None if it is not known here."""
        return self._conversations.get(conv)

    def resume(self) -> dict[str, Position]:
        """Begin a connection: return how far the application has processed each conversation."""
        self.acks.clear()
        self.repairs.clear()
        positions = {}
        for conversation in self._conversations.values():
            conversation.offered = 0
            if conversation.processed is not None:
                positions[conversation.name] = Position(conversation.epoch, conversation.processed)
        return positions

    def welcome(self, states: Iterable[ConversationState]) -> None:
        """Learn where the server begins to deliver, and ack again what it does not know to be processed."""
        for state in states:
            conversation = self._conversation(state.conv, state.epoch)
            processed = conversation.processed if state.epoch == conversation.epoch else None
            # The server may tell the cursor of another device of this robot, which is further: what it
            # delivers here waits for acks behind the place that was resumed all the same.
            conversation.acked = state.acked if processed is None else min(state.acked, processed)
            if conversation.received is None:
                conversation.received = state.acked if processed is None else processed
            if processed is not None:
                conversation.offered = processed
                self.acks.note(conversation, 0.0)

    def place(self, conv: str, after: int) -> None:
        """Expect a conversation from after ``after`` on, as its reader asked."""
        conversation = self._conversation(conv, "")
        self._queue = deque(item for item in self._queue if _name_of(item) != conv)
        conversation.received = after
        conversation.processed = None
        conversation.acked = min(conversation.acked, after)

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
            self.repairs.ask(conversation, now_s)
            return
        if first < expected:
            self.repeated += min(expected - first, len(events))
            events = events[expected - first :]
        if events:
            epoch = frame.epoch
            self._queue.extend([(conversation, epoch, event) for event in events])
            conversation.received = last
        if not conversation.is_behind:
            self.repairs.settle(conversation)
        if conversation.processed is not None and conversation.processed > conversation.acked:
            self.acks.note(conversation, now_s)

    def gap(self, frame: GapFrame) -> None:
        """Put a hole that will not be filled in its place; the next run says where the log goes on."""
        conversation = self._conversation(frame.conv, frame.epoch)
        self._lose(conversation, frame.epoch, (frame.from_, frame.to), frame.why)

    def announced(self, frame: Head, now_s: float) -> None:
        """Note a conversation's head; if its events do not come in a while, they are asked for."""
        conversation = self._conversations.get(frame.conv)
        if conversation is not None and conversation.epoch == frame.epoch:
            conversation.head = max(conversation.head, frame.seq)
            if conversation.is_behind:
                self.repairs.suspect(conversation, now_s)

    def beyond_repair(self, conv: str, why: str) -> None:
        """Give up a hole: the server refuses to deliver what is missing."""
        conversation = self._conversations.get(conv)
        if conversation is not None and conversation.received is not None:
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
        """Note that the application is done with an item; tell whether acks should go out at once."""
        if isinstance(item, Gap):
            return False
        conversation = self._conversations.get(item.conv)
        if conversation is None or conversation.epoch != item.epoch:
            return False
        if conversation.processed is None or item.seq > conversation.processed:
            conversation.processed = item.seq
        return self.acks.note(conversation, now_s)

    def _conversation(self, name: str, epoch: str) -> Conversation:
        conversation = self._conversations.get(name)
        if conversation is None:
            conversation = self._conversations[name] = Conversation(name, epoch)
        elif not conversation.epoch:
            conversation.epoch = epoch
        return conversation

    def _change_epoch(self, conversation: Conversation, epoch: str, first: int) -> None:
        known = conversation.head if conversation.received is None else conversation.received
        self._lose(conversation, epoch, (first, max(first, known)), "restored")

    def _lose(
        self, conversation: Conversation, epoch: str, missing: tuple[int, int], why: str
    ) -> None:
        first, last = missing
        self.gaps += 1
        self._queue.append(Gap(conversation.name, epoch, first, last, why))
        self.repairs.settle(conversation)
        if conversation.epoch != epoch:
            conversation.begin_epoch(epoch)
        conversation.received = None


def _name_of(item: tuple[Conversation, str, WireEvent] | Gap) -> str:
    return item.conv if isinstance(item, Gap) else item[0].name
