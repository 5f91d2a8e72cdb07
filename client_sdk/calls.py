"""One frame out and one answer back: reading, and asking about oneself."""

from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from client_sdk.clock import wall_clock_ms
from client_sdk.errors import Refused
from client_sdk.link import Link
from client_sdk.outbox import Repeat
from client_sdk.records import ClockReading, Event
from imserver.protocol import client_frames as wire
from imserver.protocol import names
from imserver.protocol.codec import Codec
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import SEQ_MAX
from imserver.protocol.server_frames import Identity, Ok, Pong

T = TypeVar("T")


class Calls:
    """Requests, and those that any robot makes. All of it in `Robot`.

    Every call raises `Refused` if the server says no. A question that is not answered within the options'
    ``request_timeout_s`` raises `NoAnswer`. A name that breaks the rules raises ``ValueError`` at once.
    """

    def __init__(self, link: Link, codec: Codec, *, request_timeout_s: float) -> None:
        self._link = link
        self._codec = codec
        self._request_timeout_s = request_timeout_s

    async def history(
        self,
        conv: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = 100,
        view: Literal["events", "messages"] = "events",
    ) -> list[Event]:
        """Return a page of the log, forwards from ``after`` or backwards from ``before``, in log order.

        Args:
            conv: the conversation.
            after: seq behind which the page begins.
            before: seq in front of which the page ends.
            limit: most events to return; the server may return fewer when they are large.
            view: ``events`` is the log as it is, ``messages`` has edits and redactions folded in.
        """
        frame = wire.History(
            self._id(), names.conversation(conv), after=after, before=before, limit=limit, view=view
        )
        ok = await self._ask(frame, Repeat.SAFE)
        known = self._link.machine.inbox.known(conv)
        epoch = known.epoch if known is not None else ""
        decode = self._codec.decode_body
        return [
            Event(conv, epoch, e.seq, e.ts, e.sender, e.cid, e.kind, e.ref, decode(e.body))
            for e in ok.events or []
        ]

    async def whoami(self) -> Identity:
        """Return under which name, device and session the server knows this robot."""
        return await self._result(wire.WhoAmI(self._id()), Identity)

    async def follow(self, conv: str, *, after: int | None = None) -> int:
        """Receive a conversation from after ``after`` on, or from now on if it is None; return which seq.

        Needed only without the option ``auto``, or to read a log again.
        """
        conv = names.conversation(conv)
        if after is None:
            newest = await self.history(conv, before=SEQ_MAX, limit=1)
            after = newest[-1].seq if newest else 0
        machine = self._link.machine
        machine.inbox.place(conv, after)
        await self._ask(wire.Follow(self._id(), conv, after), Repeat.SAFE)
        machine.follows.wanted.add(conv)
        return after

    async def unfollow(self, conv: str) -> None:
        """Receive a conversation no longer."""
        conv = names.conversation(conv)
        self._link.machine.follows.wanted.discard(conv)
        await self._ask(wire.Unfollow(self._id(), conv), Repeat.SAFE)

    async def ping(self) -> ClockReading:
        """Ask for the server's clock and return how far it is from this machine's."""
        asked_ms = wall_clock_ms()
        frame = wire.Ping(self._id())
        pong = await self._link.ask(
            frame, Pong, repeat=Repeat.SAFE, timeout_s=self._request_timeout_s
        )
        answered_ms = wall_clock_ms()
        return ClockReading(
            round_trip_ms=answered_ms - asked_ms,
            offset_ms=pong.now - (asked_ms + answered_ms) / 2,
            server_ms=pong.now,
        )

    def _id(self) -> int:
        return next(self._link.machine.ids)

    async def _result(self, frame: Struct, kind: type[T]) -> T:
        return msgspec.convert((await self._ask(frame, Repeat.SAFE)).result, kind)

    async def _ask(self, frame: Struct, repeat: Repeat) -> Ok:
        size, size_max = len(self._codec.encode(frame)), self._link.machine.limits.frame_bytes_max
        if size > size_max:
            raise Refused(
                ErrorCode.TOO_LARGE,
                f"the request has {size} bytes and this server takes {size_max}; make it in parts",
            )
        timeout_s = self._request_timeout_s
        return await self._link.ask(frame, Ok, repeat=repeat, timeout_s=timeout_s)
