"""Sends that a robot's memory keeps: they outlive their callers, and the robot's process.

A kept send has a number, which is its place in the memory, and any number of callers who wait for it: none if
they gave up or died with an earlier process, several if the same was sent again. It ends when the server has
stored or refused it, or when the application drops it.

Sans-I/O. Called by `requests`, which also puts them on the wire.
"""

from typing import Final

import msgspec
from msgspec import Raw

from client_sdk.clock import WallClock
from client_sdk.errors import Refused
from client_sdk.memory import KeptSend
from client_sdk.options import Options
from client_sdk.outbox import Repeat, Request
from client_sdk.records import Waiting
from imserver.protocol import bodies
from imserver.protocol.client_frames import Send
from imserver.protocol.codec import Codec
from imserver.protocol.errors import ErrorCode

_SEND_BYTES: Final = 256
"""What a send takes besides its body, about."""


class Entry:
    """A kept send on its way: what the memory has of it, what is on the wire, and who waits."""

    __slots__ = ("callers", "request", "send")

    def __init__(self, send: KeptSend, request: Request) -> None:
        self.send = send
        self.request = request
        self.callers: dict[int, None] = {}


class KeptSends:
    """The sends in the memory, oldest first; no more than the options allow."""

    def __init__(self, codec: Codec, clock_ms: WallClock, options: Options) -> None:
        self._codec = codec
        self._clock_ms = clock_ms
        self._by_id: dict[int, Entry] = {}
        self._by_cid: dict[tuple[str, str], Entry] = {}
        self._by_caller: dict[int, Entry] = {}
        self._bytes = 0
        self._next_number = 1
        self._sends_max = options.waiting_max
        self._bytes_max = options.waiting_bytes_max

    def __len__(self) -> int:
        return len(self._by_id)

    def of_wire(self, request_id: int) -> Entry | None:
        """Return the send that is on the wire under this id."""
        return self._by_id.get(request_id)

    def of_cid(self, conv: str, cid: str) -> Entry | None:
        """Return the send with this cid."""
        return self._by_cid.get((conv, cid))

    def keep(self, frame: Send) -> Entry:
        """Take in a new send, whose number is given here.

        Raises:
            Refused: ``rate_limited``: too much waits already; nothing was kept.
        """
        body = self._codec.canonical_body(Raw(bytes(frame.body)))
        if len(self) >= self._sends_max or self._bytes + len(body) + _SEND_BYTES > self._bytes_max:
            raise Refused(
                ErrorCode.RATE_LIMITED,
                f"{len(self)} sends wait in the robot's memory already; wait until some are stored, drop "
                "some, or allow more by the options waiting_max and waiting_bytes_max",
            )
        send = KeptSend(
            self._next_number,
            frame.conv,
            frame.cid,
            frame.kind,
            frame.ref,
            body,
            int(self._clock_ms()),
        )
        return self._add(send, frame)

    def recall(self, send: KeptSend, request_id: int) -> Entry:
        """Take in a send of an earlier process, in the order of their numbers."""
        body = Raw(send.body) if self._codec.binary else bodies.to_json(Raw(send.body))
        frame = Send(request_id, send.conv, send.cid, body, kind=send.kind, ref=send.ref)
        return self._add(send, frame)

    def is_same(self, entry: Entry, frame: Send) -> bool:
        """Tell whether a frame says what a kept send says."""
        send = entry.send
        body = self._codec.canonical_body(Raw(bytes(frame.body)))
        return (send.kind, send.ref, send.body) == (frame.kind, frame.ref, body)

    def join(self, entry: Entry, caller: int) -> None:
        """Let a caller wait for a send."""
        entry.callers[caller] = None
        self._by_caller[caller] = entry

    def leave(self, caller: int) -> Entry | None:
        """Let a caller wait no longer; return what it waited for, or None if that is nothing kept."""
        entry = self._by_caller.pop(caller, None)
        if entry is not None:
            entry.callers.pop(caller, None)
        return entry

    def end(self, entry: Entry) -> list[int]:
        """Forget a send and return who waits for it; none if it was forgotten before."""
        if self._by_id.pop(entry.request.id, None) is None:
            return []
        del self._by_cid[(entry.send.conv, entry.send.cid)]
        self._bytes -= len(entry.send.body) + _SEND_BYTES
        callers = list(entry.callers)
        for caller in callers:
            self.leave(caller)
        return callers

    def entries(self) -> list[Entry]:
        """Return all sends, oldest first."""
        return list(self._by_id.values())

    def waiting(self) -> list[Waiting]:
        """Return all sends as the application sees them, oldest first."""
        decode = msgspec.msgpack.decode
        sends = [entry.send for entry in self._by_id.values()]
        return [Waiting(s.conv, s.cid, s.kind, s.ref, decode(s.body), s.created_ms) for s in sends]

    def _add(self, send: KeptSend, frame: Send) -> Entry:
        entry = Entry(send, Request(frame.id, frame, repeat=Repeat.SAFE, kept=True))
        self._by_id[frame.id] = entry
        self._by_cid[(send.conv, send.cid)] = entry
        self._bytes += len(send.body) + _SEND_BYTES
        self._next_number = max(self._next_number, send.number + 1)
        return entry
