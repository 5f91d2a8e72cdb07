"""Reading the past: pages of a log, as it is or with edits and redactions folded in."""

import msgspec
from msgspec import Raw, structs

from imserver.core.errors import Refusal
from imserver.data.store import EventLog
from imserver.logic import permissions
from imserver.logic.conversations import Conversations
from imserver.logic.permissions import Operation
from imserver.logic.send import checked_name, role_of
from imserver.logic.session import Session
from imserver.protocol.client_frames import History
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import AMENDING_KINDS, REDACT, SEQ_MAX, Event
from imserver.protocol.limits import Limits

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
        carries its last body, a redacted one nil, and edits and redactions themselves are left out.

        Raises:
            Refusal: not a member; both ``after`` and ``before`` given; more than a page may hold.
        """
        self._check(frame)
        conv = checked_name(frame.conv)
        conversation = await self._conversations.load(conv)
        role = None if conversation is None else role_of(conversation, session)
        permissions.require(role, Operation.READ, conv)
        while True:
            page = await self._page(frame)
            if frame.view == "events" or not page:
                return page
            shown = await self._fold(frame, page)
            if shown:
                return shown
            frame = _beyond(frame, page)

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

    async def _page(self, frame: History) -> list[Event]:
        conv = checked_name(frame.conv)
        if frame.after is not None:
            return await self._log.read_after(
                conv, frame.after, limit=frame.limit, bytes_max=self._page_bytes_max
            )
        before = SEQ_MAX if frame.before is None else frame.before
        return await self._log.read_before(
            conv, before, limit=frame.limit, bytes_max=self._page_bytes_max
        )

    async def _fold(self, frame: History, page: list[Event]) -> list[Event]:
        """Return a page's messages as they are shown; edits may be larger than what they replace, so that
        fewer fit. They are looked up a few at a time, for the same reason."""
        step = 1 if frame.after is not None else -1  # from the end at which the reader stands
        kept = [event for event in page if event.kind not in AMENDING_KINDS][::step]
        shown: list[Event] = []
        size = 0
        for start in range(0, len(kept), LOOKUPS_MAX):
            some = kept[start : start + LOOKUPS_MAX]
            seqs = [event.seq for event in some]
            amended = await self._log.amendments(checked_name(frame.conv), seqs)
            for event in (_amended(event, amended.get(event.seq)) for event in some):
                size += len(memoryview(event.body))
                if shown and size > self._page_bytes_max:
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
