"""How requests end: each in one answer or one error, never in both, never in none.

Sans-I/O; between the machine, which knows the connection, and the outbox, which knows what is under way.
"""

import random
from typing import Final, TypeAlias

from msgspec import Struct

from client_sdk.backoff import Backoff
from client_sdk.errors import ConnectionLost, Refused, RobotError
from client_sdk.outbox import Outbox, Repeat, Request
from client_sdk.records import Sent
from imserver.protocol.client_frames import Send
from imserver.protocol.errors import MEANING, Retry
from imserver.protocol.server_frames import Ok, Pong
from imserver.protocol.server_frames import Sent as SentFrame

RETRY_BASE_S: Final = 0.05
RETRY_CAP_S: Final = 2.0

Answer: TypeAlias = Sent | Ok | Pong | RobotError


class Requests:
    """Requests under way, and those that ended.

    Attributes:
        outbox: what is under way.
        sent: sends that were answered as stored.
    """

    def __init__(self, dice: random.Random) -> None:
        self._retry = Backoff(RETRY_BASE_S, RETRY_CAP_S, dice)
        self._ended: list[tuple[int, Answer]] = []
        self._closed: RobotError | None = None
        self.outbox = Outbox()
        self.sent = 0

    def submit(self, frame: Struct, *, repeat: Repeat, deadline_s: float) -> None:
        """Take in a request; how it ends comes by `take_ended`."""
        request_id: int = frame.id  # type: ignore[attr-defined]  # every request has one
        if self._closed is not None:
            self._ended.append((request_id, self._closed))
        else:
            self.outbox.add(Request(request_id, frame, repeat=repeat, deadline_s=deadline_s))

    def stored(self, frame: SentFrame) -> None:
        """Take in that a send is stored."""
        self._retry.reset()
        if self.outbox.end(frame.id) is not None:
            self.sent += 1
            sent = Sent(frame.conv, frame.epoch, frame.seq, frame.ts, frame.dup)
            self._ended.append((frame.id, sent))

    def answered(self, frame: Ok | Pong) -> None:
        """Take in an answer."""
        if self.outbox.end(frame.id) is not None:
            self._ended.append((frame.id, frame))

    def refused(self, request_id: int, refusal: Refused, now_s: float) -> None:
        """Take in a refusal; a send that met one that passes by itself is written again later."""
        request = self.outbox.get(request_id)
        if request is None:
            return
        passes = MEANING[refusal.code][0] is not Retry.NEVER
        if passes and isinstance(request.frame, Send):
            wait_s = self._retry.next_s(refusal.retry_after_ms)
            self.outbox.write_later(request, refusal, now_s + wait_s)
        else:
            self.outbox.end(request_id)
            self._ended.append((request_id, request.refused(refusal)))

    def connection_lost(self) -> None:
        """Take in that no answer comes any more over this connection."""
        for request in self.outbox.connection_lost():
            self._ended.append((request.id, request.lost("the connection was lost")))

    def tick(self, now_s: float) -> None:
        """End what is past its deadline, and let go on what has waited long enough."""
        for request in self.outbox.tick(now_s):
            self._ended.append((request.id, request.lost("no answer within the deadline")))

    def close(self, failure: RobotError | None) -> None:
        """End everything, also what comes later: with ``failure``, or because it was asked for."""
        self._closed = failure or ConnectionLost("the robot is closed")
        for request in self.outbox.clear():
            unwritten = failure if not request.written else None
            self._ended.append((request.id, unwritten or request.lost("the robot is closed")))

    def take_ended(self) -> list[tuple[int, Answer]]:
        """Return the requests that ended since the last call, each with its answer or error."""
        ended, self._ended = self._ended, []
        return ended
