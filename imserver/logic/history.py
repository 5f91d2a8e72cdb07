"""Reading the past: pages of a log, as it is or with edits and redactions folded in.

A page shows the log as it stood when its reader was judged to be a member, up to the head that this node knew
then. While the store is read somebody may be removed, and whoever appended may be another node: what stands
behind that head waits for the next page, and for the next judgement.
"""

import msgspec
from msgspec import Raw, structs

from imserver.core.errors import Refusal
from imserver.data.store import EventLog
from imserver.logic import permissions
from imserver.logic.conversations import Conversation, Conversations
from imserver.logic.permissions import Operation
from imserver.logic.send import checked_name, role_of
from imserver.logic.session import Session
from imserver.protocol.client_frames import History
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import AMENDING_KINDS, REDACT, Event
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import RETENTION, Gap

SCANNED_MIN = 512
FIELDS_BYTES = 100  # more than an event takes beside its body and its names
LOOKUPS_MAX = 32
"""Edits and redactions that are in memory at a time while a page is made."""

_NIL = Raw(msgspec.msgpack.encode(None))


class HistoryReader:
    """The use case `history`."""

    def __init__(
        self,
        conversations: Conversations,
        log: EventLog,
        *,
        limits: Limits,
        page_bytes_max: int,
    ) -> None:
        self._conversations = conversations
        self._log = log
        self._limits = limits
        self._page_bytes_max = page_bytes_max

    async def read(self, session: Session, frame: History) -> list[Event]:
        """Return a page of events in log order.

        Fewer than ``limit`` may come even if there are more: a page is also limited in bytes. An empty page
        means that there is nothing further in that direction. In the view ``messages`` an edited message
        carries its last body, a redacted one nil, and edits and redactions themselves are left out. If events
        in the direction asked for were let go before, a ``gap`` that names them and this request comes first.

        Raises:
            Refusal: not a member; both ``after`` and ``before`` given; more than a page may hold.
        """
        self._check(frame)
        conv = checked_name(frame.conv)
        permissions.admit(session.scopes, Operation.READ, conv)
        conversation = await self._conversations.load(conv, asker=session.asker)
        role = None if conversation is None else role_of(conversation, session)
        permissions.require(role, Operation.READ, conv)
        assert conversation is not None, "who has a role has a conversation"
        head = conversation.head
        page = await self._page(frame, head)
        await self._tell_gap(session, conversation, frame, page, head)
        while True:
            if frame.view == "events" or not page:
                return page
            shown = await self._fold(frame, page, head)
            if shown or session.peer.is_closed:
                return shown
            frame = _beyond(frame, page)
            page = await self._page(frame, head)
            if frame.after is not None:  # backwards nothing is missing but at the end
                await self._tell_gap(session, conversation, frame, page, head)

    def _check(self, frame: History) -> None:
        if frame.after is not None and frame.before is not None:
            raise Refusal(
                ErrorCode.BAD_FRAME,
                "give `after` to read forwards or `before` to read backwards, not both",
            )
        if frame.limit > self._limits.page_max:
            raise Refusal(
                ErrorCode.TOO_LARGE,
                f"limit {frame.limit} is over {self._limits.page_max}, the most in one page",
            )

    async def _tell_gap(
        self,
        session: Session,
        conversation: Conversation,
        frame: History,
        page: list[Event],
        head: int,
    ) -> None:
        if frame.after is not None:
            first = frame.after + 1
            if first > head or (page and page[0].seq == first):
                return
        else:
            first = 1
            if page and page[0].seq == first:
                return
        await self._conversations.learn_log(conversation)
        begins = page[0].seq if page else min(conversation.floor, head + 1)
        if first < begins <= conversation.floor:
            conv, epoch = conversation.name, conversation.epoch
            hole = Gap(conv, epoch, from_=first, to=begins - 1, why=RETENTION, id=frame.id)
            session.peer.send(hole)

    async def _page(self, frame: History, head: int) -> list[Event]:
        conv = checked_name(frame.conv)
        # A log may hold long runs of edits, which are no messages: they are not read one by one.
        limit = frame.limit if frame.view == "events" else max(frame.limit, SCANNED_MIN)
        bytes_max = self._page_bytes_max
        if frame.after is not None:
            # One at least is read: a log that is damaged right behind the head is told, not taken for level.
            limit = max(min(limit, head - frame.after), 1)
            page = await self._log.read_after(conv, frame.after, limit=limit, bytes_max=bytes_max)
            # Where the first were let go, as many come that stand further back.
            return self._fitting([event for event in page if event.seq <= head])
        before = head + 1 if frame.before is None else min(frame.before, head + 1)
        page = await self._log.read_before(conv, before, limit=limit, bytes_max=bytes_max)
        return self._fitting(page[::-1])[::-1]

    def _fitting(self, events: list[Event]) -> list[Event]:
        """Return as many of ``events``, but at least one, as fit in a frame with all their fields."""
        size = 0
        for count, event in enumerate(events):
            size += len(memoryview(event.body)) + len(event.cid) + len(event.sender)
            size += len(event.kind) + FIELDS_BYTES
            if count and size > self._limits.frame_bytes_max - FIELDS_BYTES:
                return events[:count]
        return events

    async def _fold(self, frame: History, page: list[Event], head: int) -> list[Event]:
        """Return a page's messages as they are shown; edits may be larger than what they replace, so that
        fewer fit. They are looked up a few at a time, for the same reason."""
        step = 1 if frame.after is not None else -1  # from the end at which the reader stands
        kept = [event for event in page if event.kind not in AMENDING_KINDS][::step]
        shown: list[Event] = []
        size = 0
        for start in range(0, len(kept), LOOKUPS_MAX):
            some = kept[start : start + LOOKUPS_MAX]
            seqs = [event.seq for event in some]
            amended = await self._log.amendments(checked_name(frame.conv), seqs, until=head)
            for event in (_amended(event, amended.get(event.seq)) for event in some):
                size += len(memoryview(event.body))
                is_full = len(shown) == frame.limit or size > self._page_bytes_max
                if shown and is_full:
                    return shown[::step]
                shown.append(event)
        return shown[::step]


def _amended(event: Event, amendment: Event | None) -> Event:
    if amendment is None:
        return event
    body = _NIL if amendment.kind == REDACT else amendment.body
    return structs.replace(event, body=body)


def _beyond(frame: History, page: list[Event]) -> History:
    if frame.after is not None:
        return structs.replace(frame, after=page[-1].seq)
    return structs.replace(frame, before=page[0].seq)
