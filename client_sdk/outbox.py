"""What goes out and waits for its answer: sends, questions and changes.

Every request ends in exactly one way: answered, refused, or given up at its deadline. A send that lost its
connection, or met a refusal that passes by itself, is written again with the same cid; the server stores it
once. Memory is bounded by the callers: each entry is one caller that waits, or a send that `kept_sends` has
counted. What is written and unanswered is bounded by count and bytes, so that a slow connection does not
swell the socket's buffer.

Sans-I/O. Called by `requests`.
"""

import enum
import heapq
from collections import deque

from msgspec import Struct

from client_sdk.errors import NoAnswer, OutcomeUnknown, Refused, RobotError
from imserver.protocol.client_frames import Send
from imserver.protocol.errors import ErrorCode

BYTES_IN_FLIGHT_MAX = 4 * 1024 * 1024
BURST_FRAMES_MAX = 256
REQUESTS_MAX = 1024
_OF_MEMBERSHIP = frozenset({ErrorCode.NOT_FOUND, ErrorCode.FORBIDDEN})


class Repeat(enum.Enum):
    """What may be done with a request whose answer got lost."""

    SAFE = "safe"
    """Ask again: it changes nothing, or its cid makes the server do it once."""
    NEVER = "never"
    """Tell the caller that the outcome is unknown."""


class Request:
    """A request under way.

    Attributes:
        frame: what is written, each time the same.
        kept: it stays in the robot's memory when its caller gives up.
        written: it was written to some connection at least once.
        in_doubt: an earlier try may have been stored although no answer said so.
        refusal: the passing refusal that it met last, if any since it was written last.
    """

    __slots__ = ("frame", "id", "in_doubt", "kept", "refusal", "repeat", "size", "written")

    def __init__(
        self, request_id: int, frame: Struct, *, repeat: Repeat, kept: bool = False
    ) -> None:
        self.id = request_id
        self.frame = frame
        self.repeat = repeat
        self.kept = kept
        self.size = len(memoryview(frame.body)) if isinstance(frame, Send) else 0
        self.written = False
        self.in_doubt = False
        self.refusal: Refused | None = None

    def refused(self, refusal: Refused) -> RobotError:
        """Return what its caller is told about a refusal for good.

        Whoever was removed meanwhile is refused now, although an earlier try may have been stored.
        """
        if self.in_doubt and isinstance(self.frame, Send) and refusal.code in _OF_MEMBERSHIP:
            text = f"an earlier try may have been stored, and now it is refused ({refusal})"
            return OutcomeUnknown(text, self.frame.cid)
        return refusal

    def lost(self, why: str) -> RobotError:
        """Return what its caller is told when no answer will come."""
        cid = self.frame.cid if isinstance(self.frame, Send) else None
        if self.kept:
            return OutcomeUnknown(
                f"{why}; the send with cid {cid!r} waits in the robot's memory and goes on from there",
                cid,
            )
        if self.refusal is not None and self.refusal.code is ErrorCode.RATE_LIMITED:
            return self.refusal
        if cid is not None:
            was = "was written" if self.written else "never left this robot"
            return OutcomeUnknown(f"{why}; the send {was}; send again with cid {cid!r}", cid)
        if self.repeat is Repeat.NEVER and self.written:
            return OutcomeUnknown(f"{why}; whether the change was made is not known: look", None)
        return NoAnswer(why)


class Outbox:
    """Requests in the order they were made.

    Attributes:
        resent: requests written again.
        requests_max: most requests that may wait for their answer on one connection.
        is_held: nothing is to be written for now.
    """

    def __init__(self) -> None:
        self._requests: dict[int, Request] = {}
        self._waiting: deque[int] = deque()
        self._in_flight: dict[int, Request] = {}
        self._bytes_in_flight = 0
        self._delayed: list[tuple[float, int]] = []
        self.requests_max = REQUESTS_MAX
        self.is_held = False
        self.resent = 0

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: Request) -> None:
        """Take in a request; it is written when there is a connection and room."""
        self._requests[request.id] = request
        self._waiting.append(request.id)

    def get(self, request_id: int) -> Request | None:
        """Return the request, or None if it has ended."""
        return self._requests.get(request_id)

    def end(self, request_id: int) -> Request | None:
        """Take out a request that was answered, or that nobody waits for any more."""
        self._land(request_id)
        return self._requests.pop(request_id, None)

    def write_later(self, request: Request, refusal: Refused, at_s: float) -> None:
        """Write a request again at ``at_s``, because a refusal passes by itself."""
        self._land(request.id)
        request.refusal = refusal
        request.in_doubt |= refusal.code is not ErrorCode.RATE_LIMITED
        heapq.heappush(self._delayed, (at_s, request.id))

    def take(self) -> list[Struct]:
        """Return the next frames to write, as many as may be in flight."""
        frames: list[Struct] = []
        if self.is_held:
            return frames
        while self._waiting and self._has_room() and len(frames) < BURST_FRAMES_MAX:
            request = self._requests.get(self._waiting.popleft())
            if request is None or request.id in self._in_flight:
                continue
            self.resent += request.written
            request.written = True
            request.refusal = None
            self._in_flight[request.id] = request
            self._bytes_in_flight += request.size
            frames.append(request.frame)
        return frames

    def release(self) -> None:
        """Let what was held go on."""
        self.is_held = False

    def connection_lost(self) -> list[Request]:
        """Put what was in flight back to the front; take out and return what must not be repeated."""
        in_flight, self._in_flight = self._in_flight, {}
        self._bytes_in_flight = 0
        for request in in_flight.values():
            request.in_doubt = True
        never = [request for request in in_flight.values() if request.repeat is Repeat.NEVER]
        for request in never:
            del self._requests[request.id]
        again = [key for key, request in in_flight.items() if request.repeat is Repeat.SAFE]
        self._waiting.extendleft(reversed(again))
        return never

    def tick(self, now_s: float) -> None:
        """Let delayed requests go on."""
        while self._delayed and self._delayed[0][0] <= now_s:
            self._waiting.append(heapq.heappop(self._delayed)[1])

    def clear(self) -> list[Request]:
        """Take out and return everything."""
        requests = list(self._requests.values())
        self._requests.clear()
        self._waiting.clear()
        self._in_flight.clear()
        self._delayed.clear()
        self._bytes_in_flight = 0
        return requests

    def next_deadline_s(self) -> float | None:
        """Return when `tick` has something to do."""
        while self._delayed and self._delayed[0][1] not in self._requests:
            heapq.heappop(self._delayed)
        return self._delayed[0][0] if self._delayed else None

    def _has_room(self) -> bool:
        if not self._in_flight:
            return True
        return (
            len(self._in_flight) < self.requests_max and self._bytes_in_flight < BYTES_IN_FLIGHT_MAX
        )

    def _land(self, request_id: int) -> None:
        request = self._in_flight.pop(request_id, None)
        if request is not None:
            self._bytes_in_flight -= request.size
