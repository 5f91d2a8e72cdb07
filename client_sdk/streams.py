"""What an application iterates over: events, acked when the loop comes round, and signals."""

import asyncio
from typing import Generic, Self, TypeVar

from client_sdk.errors import MissedEvents
from client_sdk.link import Link
from client_sdk.records import Event, Gap, Signal

ItemT = TypeVar("ItemT", bound=Event | Gap)


class EventStream(Generic[ItemT]):
    """The events of a robot in order, each exactly once; an endless asynchronous iterator.

    Asking for the next event says that the one before is processed. Who leaves the loop by ``break`` has not
    said so of the last one: `Robot.done` does. One loop at a time: a later one goes on where the earlier one
    stopped, and the earlier one can go on no more.
    """

    def __init__(self, link: Link, *, with_gaps: bool) -> None:
        self._link = link
        self._with_gaps = with_gaps
        self._handed: Event | Gap | None = None
        self._is_begun = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ItemT:
        """Return the next event.

        Raises:
            MissedEvents: a part of a log is lost for good, unless gaps are asked for as items.
            RuntimeError: a later loop has taken over.
            RobotError: it is over, and why. Ends without error if the robot was closed.
        """
        link = self._link
        inbox = link.machine.inbox
        if not self._is_begun:
            self._is_begun = True
            link.reader = self
            link.wake()
        if self._handed is not None and link.reader is self:
            handed, self._handed = self._handed, None
            if inbox.processed(handed, link.now_s()):
                link.machine.flush_acks()
                link.perform()
                await asyncio.sleep(0)  # a backlog must not keep the loop from everybody else
            elif not len(inbox):
                link.perform_soon()
        item = self._take()
        while item is None:
            await link.wait_until(self._is_called)
            item = self._take()
        self._handed = item
        if isinstance(item, Gap) and not self._with_gaps:
            raise MissedEvents(item)
        return item  # type: ignore[return-value]  # gaps come only if ItemT has them

    def _is_called(self) -> bool:
        link = self._link
        return len(link.machine.inbox) > 0 or link.is_closed or link.reader is not self

    def _take(self) -> Event | Gap | None:
        if self._link.is_closed:
            raise StopAsyncIteration
        if self._link.reader is not self:
            raise RuntimeError("another loop over events() has taken over; use one at a time")
        return self._link.machine.inbox.next()


class SignalStream:
    """The signals of a robot, the latest value of each; an endless asynchronous iterator."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Signal:
        """Return the signal that is unread longest.

        Raises:
            RobotError: it is over, and why. Ends without error if the robot was closed.
        """
        link = self._link
        board = link.machine.signals
        while True:
            if link.is_closed:
                raise StopAsyncIteration
            signal = board.next()
            if signal is not None:
                return signal
            await link.wait_until(lambda: len(board) > 0 or link.is_closed)
