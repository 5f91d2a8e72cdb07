"""What comes in: each conversation's cursors, and the events that wait for the application.

The story. A conversation has three places in its log: what was *received* into the queue here, what the
application has *processed*, and what was *acked* on this connection. A run of events is let in only if it
continues what was received. What was received before is skipped, so nothing is shown twice. If a run begins
too late, a hole shows: it is dropped and the log is asked for again from the hole on, so nothing is skipped.
What the server declares lost for good becomes a `Gap` in the queue, at its place. If it is lost because the
log was cut back (restored from a backup, or otherwise without its tail), its numbers will be given to other
events: what was queued of them is dropped, and the places go back to where the server goes on.

Memory is bounded by the server's promise: at most ``window`` events of a conversation beyond its acks, and
acks follow what the application has processed. After a reconnect delivery resumes behind what was
processed; what is still in the queue comes again and is skipped. A robot with a memory begins a new process
with the places of the one before.

Sans-I/O: no clock, no socket. Called by the machine as frames come in and by the reader as it takes events.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeAlias

import msgspec
from msgspec import Raw

from client_sdk.conversation import Acks, Conversation, Places, Repairs
from client_sdk.memory import KeptRecord, Place, Recollection
from client_sdk.records import RENUMBERING, RESTORED, Event, Gap
from imserver.protocol.client_frames import Position
from imserver.protocol.events import Event as WireEvent
from imserver.protocol.server_frames import ConversationState, Deliver, Head
from imserver.protocol.server_frames import Gap as GapFrame

Item: TypeAlias = Event | Gap

POSITION_BYTES: Final = 40
"""What a position takes in a frame besides its texts, at most."""


class Opener(Protocol):
    """Opens what comes sealed, as the application takes it."""

    def recall(self, recollection: Recollection) -> None:
        """Begin with what an earlier process kept in the robot's memory."""

    def take(self, places: Iterable[Place]) -> Sequence[KeptRecord]:
        """Return what the memory has to keep in one write with these places."""

    def received(self, conv: str, epoch: str, log: Sequence[WireEvent]) -> None:
        """Take in a run of a log as it comes, in front of the queue."""

    def open(self, event: Event) -> Event:
        """Return an event as the application is to see it. Called once for each, in the order of its log."""

    def renumbered(self, conv: str) -> None:
        """Take in that a log was cut back: its further numbers are given anew."""


class Inbox:
    """The conversations of a robot as they come in.

    Attributes:
        places: what is processed and not in the robot's memory yet; None if it has no memory.
        acks, repairs: what is processed and not acked yet, and what is missing.
        received, repeated, gaps: events handed to the application, events that came again, holes for good.
        is_lost: there is a conversation that did not come at all: a new welcome tells where it begins.
        opener: opens what comes sealed; None if this robot seals nothing.
    """

    def __init__(self, decode_body: Callable[[Raw], Any], *, window: int) -> None:
        self._decode_body = decode_body
        self._conversations: dict[str, Conversation] = {}
        self._queue: deque[tuple[Conversation, str, WireEvent] | Gap] = deque()
        self.acks = Acks(window)
        self.places: Places | None = None
        self.repairs = Repairs(window)
        self.received = 0
        self.repeated = 0
        self.gaps = 0
        self.is_lost = False
        self.opener: Opener | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def known(self, conv: str) -> Conversation | None:
        """Return a conversation's places, or None if it is not known here."""
        return self._conversations.get(conv)

    def due_s(self, *, acks: bool) -> float | None:
        """Return when places, and ``acks`` too if they can be written, are to go out at the latest."""
        dues = [self.acks.due_s if acks else None, self.places.due_s if self.places else None]
        return min((due_s for due_s in dues if due_s is not None), default=None)

    def recall(self, recollection: Recollection) -> None:
        """Begin where an earlier process stopped; from now on places are noted for the memory."""
        self.places = Places()
        if self.opener is not None:
            self.opener.recall(recollection)
        for place in recollection.places:
            conversation = self._conversation(place.conv, place.epoch)
            conversation.received = conversation.taken = place.seq
            conversation.processed = conversation.kept = place.seq

    def resume(self, bytes_max: int) -> dict[str, Position]:
        """Begin a connection: return how far the application is in each conversation, or where it began.

        Where it began was the server's own word, so it shows a server that has lost its end since. What does
        not fit into ``bytes_max`` is left out, such places first: the server begins at its own cursor, and
        what is known here already is skipped when it comes.
        """
        self.acks.clear()
        self.repairs.clear()
        self.is_lost = False
        positions = {}
        conversations = self._conversations.values()
        for conversation in sorted(conversations, key=lambda known: known.processed is None):
            conversation.offered = 0
            place = conversation.place
            if place is None:
                continue
            bytes_max -= len(conversation.name) + len(conversation.epoch) + POSITION_BYTES
            if bytes_max >= 0:
                conversation.offered = place
                positions[conversation.name] = Position(conversation.epoch, place)
        return positions

    def welcome(self, states: Iterable[ConversationState]) -> None:
        """Learn where the server begins to deliver, and ack again what it does not know to be processed.

        A conversation that the robot has left meanwhile is not among them, and no ack of it is taken.
        """
        left = dict(self._conversations)
        for state in states:
            left.pop(state.conv, None)
            conversation = self._conversation(state.conv, state.epoch)
            place = conversation.place if state.epoch == conversation.epoch else None
            if state.epoch != conversation.epoch:
                self._restored(conversation, state)
            # The server may tell the cursor of another device of this robot, which is further: what it
            # delivers here waits for acks behind the place that was resumed all the same.
            conversation.acked = state.acked if place is None else min(state.acked, place)
            if conversation.received is None:
                conversation.begun = state.acked
                conversation.received = state.acked if place is None else place
                conversation.taken = conversation.received
            if place is None or place > state.seq:  # the server has lost the end: a gap will say so
                conversation.offered = 0
            else:
                self.acks.note(conversation, 0.0)
            if state.epoch == conversation.epoch and state.seq < conversation.received:
                self.is_lost |= conversation.witness(state.seq, place)
        for conversation in left.values():
            conversation.offered = 0

    def place(self, conv: str, after: int) -> None:
        """Expect a conversation from after ``after`` on, as its reader asked."""
        conversation = self._conversation(conv, "")
        self._queue = deque(item for item in self._queue if _name_of(item) != conv)
        conversation.received = conversation.taken = conversation.begun = after
        conversation.processed = None
        conversation.acked = min(conversation.acked, after)

    def deliver(self, frame: Deliver, now_s: float) -> None:
        """Let in a run of events as far as it continues the log."""
        events = frame.events
        if not events:
            return
        conversation = self._conversation(frame.conv, frame.epoch)
        if not _is_run(events):
            self.repairs.ask(conversation, now_s)
            return
        if self.opener is not None:
            self.opener.received(frame.conv, frame.epoch, events)
        first, last = events[0].seq, events[-1].seq
        if conversation.epoch != frame.epoch and not self._change_epoch(frame):
            return
        conversation.offered = max(conversation.offered, last)
        conversation.head = max(conversation.head, last)
        if conversation.received is None:
            conversation.received = conversation.begun = first - 1
        expected = conversation.received + 1
        if first > expected:
            self.repairs.ask(conversation, now_s)
            return
        if first < expected:
            self.repeated += min(expected - first, len(events))
            # Whatever the server was told, it counts these as not processed, and its window waits for that.
            conversation.acked = min(conversation.acked, first - 1)
            events = events[expected - first :]
        if events:
            self._queue.extend([(conversation, frame.epoch, event) for event in events])
            conversation.received = last
        if not conversation.is_behind:
            self.repairs.settle(conversation)
        if conversation.processed is not None and conversation.processed > conversation.acked:
            self.acks.note(conversation, now_s)

    def gap(self, frame: GapFrame, now_s: float) -> None:
        """Put a hole that will not be filled in its place; the log goes on where the server says."""
        conversation = self._conversation(frame.conv, frame.epoch)
        if frame.epoch != conversation.epoch or frame.why in RENUMBERING:
            self._renumber(conversation, _hole(conversation, frame))
            return
        conversation.offered = max(conversation.offered, frame.to)
        conversation.head = max(conversation.head, frame.to)
        expected = frame.from_ if conversation.received is None else conversation.received + 1
        if frame.from_ > expected:
            self.repairs.ask(conversation, now_s)
        elif frame.to >= expected:
            self._skip(conversation, expected, frame.to, frame.why)

    def announced(self, frame: Head, now_s: float) -> None:
        """Note a conversation's head; if its events do not come in a while, they are asked for."""
        conversation = self._conversations.get(frame.conv)
        if conversation is None:
            self.is_lost = True  # only conversations that were delivered are announced
        elif conversation.epoch == frame.epoch:
            conversation.head = max(conversation.head, frame.seq)
            if conversation.is_behind:
                self.repairs.suspect(conversation, now_s)

    def beyond_repair(self, conv: str, why: str) -> None:
        """Give up a hole: the server refuses to deliver what is missing. What is yet to come is no hole."""
        conversation = self._conversations.get(conv)
        if conversation is not None and conversation.received is not None:
            if conversation.is_behind:
                self._skip(conversation, conversation.received + 1, conversation.head, why)
            self.repairs.settle(conversation)

    def next(self) -> Item | None:
        """Take the next event or gap, or None if there is none yet."""
        if not self._queue:
            return None
        item = self._queue.popleft()
        if isinstance(item, Gap):
            conversation = self._conversations[item.conv]
            conversation.taken = max(conversation.taken, item.after)
            return item
        conversation, epoch, event = item
        conversation.taken = event.seq
        self.received += 1
        shown = _as_event(conversation.name, epoch, event, self._decode_body(event.body))
        return shown if self.opener is None else self.opener.open(shown)

    def processed(self, item: Item, now_s: float) -> bool:
        """Note that the application is done with an item; tell whether acks should go out at once."""
        conversation = self._conversations.get(item.conv)
        if conversation is None or conversation.epoch != item.epoch:
            return False
        seq = item.after if isinstance(item, Gap) else item.seq
        if not conversation.process(seq):
            return False
        if self.places is not None:
            self.places.note(conversation, now_s)
        return self.acks.note(conversation, now_s)

    def _conversation(self, name: str, epoch: str) -> Conversation:
        conversation = self._conversations.get(name)
        if conversation is None:
            conversation = self._conversations[name] = Conversation(name, epoch)
        elif not conversation.epoch:
            conversation.epoch = epoch
        return conversation

    def _change_epoch(self, frame: Deliver) -> bool:
        """Go on in a new epoch if a run tells where; else a new welcome has to."""
        conversation, first = self._conversations[frame.conv], frame.events[0].seq
        known = conversation.head if conversation.received is None else conversation.received
        reached = known if conversation.place is None else conversation.place
        if conversation.received is not None and first > reached + 1:
            # It begins where the robot was added again, and what stands before that is not known here.
            self.is_lost = True
            return False
        gap = Gap(frame.conv, frame.epoch, first, max(first, known), RESTORED, first - 1)
        self._renumber(conversation, gap)
        return True

    def _restored(self, conversation: Conversation, state: ConversationState) -> None:
        """Show nothing more of the old log. Where the new one goes on is told by what comes next; without a
        place that was resumed, it is shown from its beginning, and what the server leaves out is asked for.
        """
        if conversation.place is not None:
            self._queue = deque(item for item in self._queue if _name_of(item) != state.conv)
            return
        after = min(conversation.begun, state.acked)
        last = max(conversation.received or 0, after)
        gap = Gap(state.conv, state.epoch, after + 1, last, RESTORED, after)
        self._renumber(conversation, gap)

    def _renumber(self, conversation: Conversation, gap: Gap) -> None:
        mine = [item for item in self._queue if _name_of(item) == conversation.name]
        self._queue = deque(item for item in self._queue if _name_of(item) != conversation.name)
        conversation.renumber(gap.epoch, gap.after)
        if self.opener is not None:
            self.opener.renumbered(conversation.name)
        first = min([gap.first, *(item.first for item in mine if isinstance(item, Gap))])
        self._tell(conversation, msgspec.structs.replace(gap, first=first))

    def _skip(self, conversation: Conversation, first: int, last: int, why: str) -> None:
        conversation.received = last
        gap = Gap(conversation.name, conversation.epoch, first, last, why, last)
        self._tell(conversation, gap)

    def _tell(self, conversation: Conversation, gap: Gap) -> None:
        self._queue.append(gap)
        self.gaps += 1
        self.repairs.settle(conversation)


def _as_event(conv: str, epoch: str, event: WireEvent, body: Any) -> Event:
    place = (conv, epoch, event.seq, event.ts)
    return Event(*place, event.sender, event.cid, event.kind, event.ref, body)


def _is_run(events: list[WireEvent]) -> bool:
    first = events[0].seq
    return [event.seq for event in events] == list(range(first, first + len(events)))


def _hole(conversation: Conversation, frame: GapFrame) -> Gap:
    """Return what a cut log is told as: where the hole is, and behind which place it goes on."""
    after = frame.from_ - 1 if frame.why in RENUMBERING else frame.to
    # A server whose own cursor is further than this side names a hole that ends before it begins.
    first = min(frame.from_, frame.to + 1)
    last = max(frame.to, after, conversation.received or 0)
    return Gap(conversation.name, frame.epoch, first, last, frame.why, after)


def _name_of(item: tuple[Conversation, str, WireEvent] | Gap) -> str:
    return item.conv if isinstance(item, Gap) else item[0].name
