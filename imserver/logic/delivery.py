"""Brings committed events to readers, each at its own pace, in order and without a seam.

A *reader* is one conversation on one session. It is *live* when it has everything up to the head: then a
commit is pushed to it at once, in the frame that all readers share. It falls *behind* when its connection is
congested or its window is used up, and after a resume. Nothing is buffered for a reader that is behind: it is
fed frames from the hot tail, or pages from the store, as far as window and connection allow, until it is
level with the head again, and from that very moment it is live. Push and page can therefore neither
overlap nor leave a hole: ``sent`` says what it has, and only the next seq is ever given to it.

Readers that need the same page at the same time, or soon after each other, share one read of the store, and
its encoding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any

from imserver.core.errors import STORE_TROUBLE, StoreCorrupt
from imserver.core.model import Created, Deleted, Removed, Run
from imserver.data.store import EventLog
from imserver.logic import membership
from imserver.logic.conversations import Conversation, Conversations
from imserver.logic.metrics import LogicMetrics
from imserver.logic.pages import Pages
from imserver.logic.tail import Tail, TailFrame, Tails, body_bytes, bytes_of
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.events import GROUP_CREATED, SERVER_KINDS, Event
from imserver.protocol.names import RobotName, is_group
from imserver.protocol.packed_events import PackedEvents
from imserver.protocol.server_frames import RETENTION, Deliver, Error, Gap, Head, PackedDeliver
from imserver.protocol.shared_frame import SharedFrame

if TYPE_CHECKING:
    from imserver.logic.session import Session

_log = logging.getLogger("imserver.delivery")

PAGE_EVENTS_MAX = 512
PAGES_IN_FLIGHT_MAX = 4
EVENT_BYTES = 200
"""What an event takes in a frame beside its body, at most as a rule."""

Spawn = Callable[[Coroutine[Any, Any, None], str], None]


class Reader:
    """One conversation on one session, and how far it is.

    Attributes:
        sent: seq of the last event given to the connection.
        acked: seq up to which the device has said it is done.
        live: it has everything up to the head and gets commits pushed.
        until: the last seq it may get, once its robot is no member any more.
        loading: a page is on its way from the store.
    """

    __slots__ = ("acked", "conversation", "live", "loading", "sent", "session", "until")

    def __init__(self, session: Session, conversation: Conversation, start: int) -> None:
        self.session = session
        self.conversation = conversation
        self.sent = start
        self.acked = start
        self.live = False
        self.until: int | None = None
        self.loading = False

    @property
    def goal(self) -> int:
        """The seq at which it is level."""
        return self.conversation.head if self.until is None else self.until


class Delivery:
    """Fans commits out to live readers and feeds the ones that are behind."""

    def __init__(
        self,
        log: EventLog,
        conversations: Conversations,
        *,
        spawn: Spawn,
        metrics: LogicMetrics,
        page_bytes_max: int,
        tail_bytes_max: int,
        pages_bytes_max: int,
    ) -> None:
        self._log = log
        self._conversations = conversations
        self._spawn = spawn
        self._metrics = metrics
        self._page_bytes_max = page_bytes_max
        self._tails = Tails(tail_bytes_max)
        self._pages = Pages(pages_bytes_max)
        self._loads: dict[tuple[str, int, int], list[Reader]] = {}
        self.on_joined: Callable[[Conversation, list[RobotName], int], None] = _ignore
        self.on_found: Callable[[Conversation, Collection[RobotName]], None] = _ignore

    def on_committed(self, run: Run) -> None:
        """Take in durable events: first what they do to the membership, then to whom they go."""
        first = run.events[0]
        conversation = self._conversations.known(run.conv)
        if conversation is None:
            if first.kind != GROUP_CREATED:
                return
            conversation = self._conversations.begin(run.conv, {})
        self._conversations.note(conversation, run)
        if first.seq == 1 and not is_group(run.conv):
            self.on_joined(conversation, list(conversation.members), 1)
        start = 0
        for index, event in enumerate(run.events):
            if event.kind in SERVER_KINDS:
                self._push(conversation, run.events[start:index])
                self._push_change(conversation, event)
                start = index + 1
        self._push(conversation, run.events[start:] if start else run.events)

    def end_strangers(self, conversation: Conversation) -> None:
        """Serve no longer who is no member; call after events were passed over that may have removed some."""
        for reader in list(conversation.readers):
            session = reader.session
            is_member = session.robot in conversation.members or session.admin
            if reader.until is None and not is_member:
                self._drop(reader)

    def announce_heads(self) -> None:
        """Tell the heads of conversations without recent traffic, so that a reader can see a loss."""
        for conversation in self._conversations:
            if conversation.readers and conversation.announced == conversation.head:
                _announce(conversation)
            conversation.announced = conversation.head

    def open(self, reader: Reader) -> None:
        """Begin to serve a reader from after its ``sent`` on."""
        session, conversation = reader.session, reader.conversation
        conversation.readers[reader] = None
        if session.loads >= PAGES_IN_FLIGHT_MAX and reader.sent < conversation.head:
            session.behind[reader] = None  # of a robot in thousands of groups nearly all wait
        else:
            self.feed(reader)

    def close(self, reader: Reader) -> None:
        """Serve a reader no longer."""
        reader.conversation.readers.pop(reader, None)
        reader.session.behind.pop(reader, None)
        reader.live = False
        reader.until = reader.sent

    def feed(self, reader: Reader) -> None:
        """Give a reader that is not live what it may have now; call when its window or connection opens."""
        conversation = reader.conversation
        while not reader.live and not reader.loading:
            if reader.sent >= reader.goal:
                self._level(reader)
                return
            room = min(reader.session.window - (reader.sent - reader.acked), PAGE_EVENTS_MAX)
            if room <= 0:
                return
            # The store may have more than was published here: that will be pushed, and only once.
            room = min(room, reader.goal - reader.sent)
            tail = conversation.tail
            frame = tail.after(reader.sent, room) if tail is not None else None
            if frame is None:
                if self._skip_trimmed(reader):
                    continue
                frame = self._pages.after(conversation, reader.sent, count_max=room)
            if frame is None:
                self._load(reader, room)
                return
            if not reader.session.peer.push(frame.shared):
                reader.session.behind[reader] = None
                return
            reader.sent = frame.last

    def _skip_trimmed(self, reader: Reader) -> bool:
        """Tell a reader that the events it should get next were let go; False if they were not."""
        conversation = reader.conversation
        first, last = reader.sent + 1, min(conversation.floor - 1, reader.goal)
        if last < first:
            return False
        gap = Gap(conversation.name, conversation.epoch, from_=first, to=last, why=RETENTION)
        reader.session.peer.send(gap)
        # What it has not acked before the gap fills its window no longer: it may never ack that.
        reader.sent = reader.acked = last
        return True

    def _level(self, reader: Reader) -> None:
        if reader.until is not None:
            self._drop(reader)
        else:
            reader.live = True

    def _drop(self, reader: Reader) -> None:
        self.close(reader)
        reader.session.leave(reader.conversation.name, reader.sent)
        readers = reader.session.readers
        if readers.get(reader.conversation.name) is reader:
            del readers[reader.conversation.name]

    def _push_change(self, conversation: Conversation, event: Event) -> None:
        change = membership.change_of(event)
        if isinstance(change, Removed | Deleted):
            self._push(conversation, [event])
            membership.apply(conversation, change, event.seq)
            self._cut_off(conversation, change, event.seq)
        else:
            membership.apply(conversation, change, event.seq)
            if event.kind in membership.ADDING_KINDS:
                joined = change.members if isinstance(change, Created) else change.robots
                self.on_joined(conversation, list(joined), event.seq)
            self._push(conversation, [event])

    def _cut_off(self, conversation: Conversation, change: Removed | Deleted, seq: int) -> None:
        gone = None if isinstance(change, Deleted) else set(change.robots)
        for reader in list(conversation.readers):
            if (gone is None or reader.session.robot in gone) and not reader.session.admin:
                reader.until = seq
                reader.live = False
                self.feed(reader)

    def _push(self, conversation: Conversation, events: list[Event]) -> None:
        if events and not conversation.readers:
            conversation.head, conversation.tail = events[-1].seq, None
            return
        for part in _parts(events, self._page_bytes_max):
            self._push_frame(conversation, part)

    def _push_frame(self, conversation: Conversation, events: list[Event]) -> None:
        before, last = events[0].seq - 1, events[-1].seq
        conversation.head = last
        shared = SharedFrame(Deliver(conversation.name, conversation.epoch, events))
        fallen: list[Reader] | None = None
        for reader in conversation.readers:
            if not reader.live:
                continue
            session = reader.session
            fits = reader.sent == before and last - reader.acked <= session.window
            if fits and session.peer.push(shared):
                reader.sent = last
            else:
                reader.live = False
                if fallen is None:
                    fallen = []
                fallen.append(reader)
        if conversation.tail is None:
            conversation.tail = Tail()
        frame = TailFrame(before + 1, last, shared, bytes_of(shared, events))
        self._tails.add(conversation.tail, frame)
        if fallen is not None:
            self._metrics.readers_behind.inc(len(fallen))
            for reader in fallen:
                self.feed(reader)

    def _load(self, reader: Reader, count: int) -> None:
        session = reader.session
        if session.loads >= PAGES_IN_FLIGHT_MAX:
            session.behind[reader] = None
            return
        session.loads += 1
        reader.loading = True
        key = (reader.conversation.name, reader.sent, count)
        waiting = self._loads.get(key)
        if waiting is not None:
            waiting.append(reader)
            return
        self._loads[key] = [reader]
        self._spawn(self._load_page(reader.conversation, reader.sent, count), "delivery.page")

    async def _load_page(self, conversation: Conversation, after: int, count: int) -> None:
        page: PackedEvents | None = None
        is_damaged = False
        try:
            page = await self._log.read_page(
                conversation.name, after, limit=count, bytes_max=self._page_bytes_max
            )
            if page is not None and page.first > after + 1:
                await self._conversations.learn_log(conversation)
        except STORE_TROUBLE as exc:
            is_damaged = isinstance(exc, StoreCorrupt)
            _log.error("page.failed", extra={"conv": conversation.name, "reason": str(exc)})
        readers = self._loads.pop((conversation.name, after, count))
        shared = None if page is None else _shared(conversation, page)
        for reader in readers:
            reader.loading = False
            reader.session.loads -= 1
            if reader not in reader.conversation.readers:  # it was closed meanwhile
                reader.session.feed_waiting(self.feed)
            elif is_damaged:
                self.give_up(reader)
            elif conversation.floor > after + 1:
                self._feed_behind_gap(reader)
            elif page is None or shared is None or page.first != after + 1:
                reader.session.peer.close(CloseCode.RESTART, "the log could not be read; come back")
            else:
                self._give_page(reader, shared, page)
                reader.session.feed_waiting(self.feed)
        if page is not None and shared is not None:
            self._pages.add(shared, page, head=conversation.head)

    def _feed_behind_gap(self, reader: Reader) -> None:
        """Go on with a reader whose page was let go while it was read."""
        self._skip_trimmed(reader)
        reader.session.behind[reader] = None
        reader.session.feed_waiting(self.feed)

    def give_up(self, reader: Reader) -> None:
        """End a reader whose next page cannot be read, now or later; the session's others go on."""
        reader.session.peer.send(_damaged(reader))
        self._drop(reader)
        reader.session.feed_waiting(self.feed)

    def _give_page(self, reader: Reader, shared: SharedFrame, page: PackedEvents) -> None:
        last = page.last
        if reader.until is not None and last > reader.until:
            last = reader.until
            events = page.events[: last - reader.sent]
            if not events:
                return
            conversation = reader.conversation
            shared = SharedFrame(Deliver(conversation.name, conversation.epoch, events))
        if reader.session.peer.push(shared):
            reader.sent = last
        reader.session.behind[reader] = None


def _parts(events: list[Event], bytes_max: int) -> list[list[Event]]:
    """Cut events into frames of at most ``bytes_max``, or of one event; nearly always one frame takes all."""
    is_few = len(events) <= PAGE_EVENTS_MAX
    if is_few and body_bytes(events) + EVENT_BYTES * len(events) <= bytes_max:
        return [events] if events else []
    parts: list[list[Event]] = []
    size = bytes_max
    for event in events:
        weight = len(event.body) + EVENT_BYTES
        if size + weight > bytes_max or len(parts[-1]) >= PAGE_EVENTS_MAX:
            parts.append([])
            size = 0
        parts[-1].append(event)
        size += weight
    return parts


def _shared(conversation: Conversation, page: PackedEvents) -> SharedFrame:
    return SharedFrame(PackedDeliver(conversation.name, conversation.epoch, page.packed))


def _damaged(reader: Reader) -> Error:
    message = (
        f"the log of {reader.conversation.name} is damaged behind {reader.sent} and is not delivered any "
        "further; the server's operator must restore it"
    )
    return Error(ErrorCode.UNAVAILABLE, message, fatal=False)


def _announce(conversation: Conversation) -> None:
    head = SharedFrame(Head(conversation.name, conversation.epoch, conversation.head))
    for reader in conversation.readers:
        if reader.live:
            reader.session.peer.push(head)


def _ignore(*_: object) -> None:
    """Stand in until somebody wants to know who joins."""
