"""How requests end: each in one answer or one error, never in both, never in none.

A send of a robot with a memory goes on the wire once it is in the memory, and stays there until its outcome
is known, whatever becomes of its caller. Everything else ends with its caller.

Sans-I/O; between the machine, which knows the connection, and the outbox, which knows what is under way.
"""

import logging
import random
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final, TypeAlias

from msgspec import Struct

from client_sdk.backoff import Backoff
from client_sdk.deadlines import Deadlines
from client_sdk.errors import ConnectionLost, OutcomeUnknown, Refused, RobotError
from client_sdk.kept_sends import Entry, KeptSends
from client_sdk.memory import Drop, Keep, KeptSend
from client_sdk.notes import Notes
from client_sdk.outbox import Outbox, Repeat, Request
from client_sdk.records import Sent
from imserver.protocol.client_frames import Send
from imserver.protocol.errors import MEANING, ErrorCode, Retry
from imserver.protocol.server_frames import Ok, Pong
from imserver.protocol.server_frames import Sent as SentFrame

RETRY_BASE_S: Final = 0.05
RETRY_CAP_S: Final = 2.0

Answer: TypeAlias = Sent | Ok | Pong | RobotError
_log = logging.getLogger("client_sdk")


class Requests:
    """Requests under way, and those that ended.

    Attributes:
        outbox: what is under way.
        kept: sends that are in the robot's memory, or on their way there.
        sent: sends that were answered as stored.
    """

    def __init__(self, dice: random.Random, notes: Notes, kept: KeptSends) -> None:
        self._retry = Backoff(RETRY_BASE_S, RETRY_CAP_S, dice)
        self._notes = notes
        self._ended: list[tuple[int, Answer]] = []
        self._closed: RobotError | None = None
        self._deadlines = Deadlines()
        self.outbox = Outbox()
        self.kept = kept
        self.sent = 0

    def recall(self, sends: Iterable[KeptSend], ids: Iterator[int]) -> None:
        """Send what an earlier process left in the memory, in its order and before anything else."""
        for send in sends:
            request = self.kept.recall(send, next(ids)).request
            request.in_doubt = True
            self.outbox.add(request)

    def submit(self, frame: Struct, *, repeat: Repeat, deadline_s: float) -> None:
        """Take in a request; how it ends comes by `take_ended`."""
        caller: int = frame.id  # type: ignore[attr-defined]  # every request has one
        if self._closed is not None:
            self._end(caller, self._closed)
            return
        self._deadlines.add(caller, deadline_s)
        if self._notes.keeps and isinstance(frame, Send):
            self._keep(frame)
        else:
            self.outbox.add(Request(caller, frame, repeat=repeat))

    def abandon(self, caller: int) -> None:
        """Take in that a caller waits no longer; a kept send goes on without it."""
        self._deadlines.met(caller)
        if self.kept.leave(caller) is None:
            self.outbox.end(caller)

    def drop(self, conv: str, cid: str) -> bool:
        """Give up a kept send, which may be stored already; tell whether it was there."""
        entry = self.kept.of_cid(conv, cid)
        if entry is None:
            return False
        self.outbox.end(entry.request.id)
        unknown = OutcomeUnknown("the send was dropped; it may have been stored before", cid)
        for caller in self.kept.end(entry):
            self._end(caller, unknown)
        self._notes.add(Drop(entry.send.number))
        return True

    def stored(self, frame: SentFrame) -> None:
        """Take in that a send is stored."""
        self._retry.reset()
        if self.outbox.end(frame.id) is None:
            return
        self.sent += 1
        sent = Sent(frame.conv, frame.epoch, frame.seq, frame.ts, frame.dup)
        entry = self.kept.of_wire(frame.id)
        if entry is None:
            self._end(frame.id, sent)
            return
        # To be sent again after a crash would be harmless: its cid is stored.
        self._notes.add(Drop(entry.send.number), patient=True)
        self._end_kept(entry, sent)

    def answered(self, frame: Ok | Pong) -> None:
        """Take in an answer."""
        if self.outbox.end(frame.id) is not None:
            self._end(frame.id, frame)

    def refused(self, request_id: int, refusal: Refused, now_s: float) -> None:
        """Take in a refusal; a send that met one that passes by itself is written again later."""
        request = self.outbox.get(request_id)
        if request is None:
            return
        passes = MEANING[refusal.code][0] is not Retry.NEVER
        if passes and isinstance(request.frame, Send):
            wait_s = self._retry.next_s(refusal.retry_after_ms)
            self.outbox.write_later(request, refusal, now_s + wait_s)
            return
        self.outbox.end(request_id)
        entry = self.kept.of_wire(request_id)
        if entry is None:
            self._end(request_id, request.refused(refusal))
            return
        # Who is told of a refusal relies on it: the send must not come back after a crash.
        then = partial(self._end_kept, entry, request.refused(refusal))
        self._notes.add(Drop(entry.send.number), then=then)

    def connection_lost(self) -> None:
        """Take in that no answer comes any more over this connection."""
        for request in self.outbox.connection_lost():
            self._end(request.id, request.lost("the connection was lost"))

    def tick(self, now_s: float) -> None:
        """End what is past its deadline, and let go on what has waited long enough."""
        self.outbox.tick(now_s)
        for caller in self._deadlines.take_passed(now_s):
            entry = self.kept.leave(caller)
            request = self.outbox.end(caller) if entry is None else entry.request
            if request is not None:
                self._end(caller, request.lost("no answer within the deadline"))

    def close(self, failure: RobotError | None) -> None:
        """End everything, also what comes later: with ``failure``, or because it was asked for.

        Kept sends stay in the memory.
        """
        self._closed = failure or ConnectionLost("the robot is closed")
        why = f"the robot is over: {failure}" if failure else "the robot is closed"
        for entry in self.kept.entries():
            for caller in list(entry.callers):
                self.kept.leave(caller)
                self._end(caller, entry.request.lost(why))
        for request in self.outbox.clear():
            if not request.kept:
                unwritten = failure if not request.written else None
                self._end(request.id, unwritten or request.lost(why))

    def take_ended(self) -> list[tuple[int, Answer]]:
        """Return the requests that ended since the last call, each with its answer or error."""
        ended, self._ended = self._ended, []
        return ended

    def next_deadline_s(self) -> float | None:
        """Return when `tick` has something to do."""
        dues = (self.outbox.next_deadline_s(), self._deadlines.next_s())
        return min((due_s for due_s in dues if due_s is not None), default=None)

    def _keep(self, frame: Send) -> None:
        entry = self.kept.of_cid(frame.conv, frame.cid)
        if entry is not None and not self.kept.is_same(entry, frame):
            message = f"cid {frame.cid} is used for another send that waits in the robot's memory"
            self._end(frame.id, Refused(ErrorCode.CONFLICT, message))
            return
        if entry is None:
            try:
                entry = self.kept.keep(frame)
            except Refused as refusal:
                self._end(frame.id, refusal)
                return
            self._notes.add(Keep(entry.send), then=partial(self._release, entry))
        self.kept.join(entry, frame.id)

    def _release(self, entry: Entry) -> None:
        if self._closed is None and self.kept.of_wire(entry.request.id) is entry:
            self.outbox.add(entry.request)

    def _end_kept(self, entry: Entry, answer: Sent | RobotError) -> None:
        callers = self.kept.end(entry)
        for caller in callers:
            self._end(caller, answer)
        if not callers and isinstance(answer, RobotError):
            problem = {"conv": entry.send.conv, "cid": entry.send.cid, "problem": str(answer)}
            _log.warning("send.refused_later", extra=problem)

    def _end(self, caller: int, answer: Answer) -> None:
        self._deadlines.met(caller)
        self._ended.append((caller, answer))
